"""YAML 1.2 and nothing that surprises; variables that cannot add structure; durations."""

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.config import format_duration, parse_duration
from notifier.config.document import MAX_DEPTH, MAX_NODES, parse, plain
from notifier.config.durations import parse_span
from notifier.config.interpolate import interpolate


def read(text):
    root, problems = parse(text)
    assert not problems
    return plain(root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("12:30", "12:30"),
        ("2026-04-24", "2026-04-24"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("=", "="),
        ("true", True),
        ("FALSE", False),
        ("00123", 123),
        ("-7", -7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        ("null", None),
        ("~", None),
        ('"true"', "true"),
        ("'00123'", "00123"),
        ('""', ""),
    ],
)
def test_types_plain_scalars_by_yaml_1_2(text, value):
    found = read(f"a: {text}\n")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "written twice; the first is in line 1"),
        ("a: &x 1\nb: *x\n", 1, "anchors"),
        ("b: *x\n", 1, "aliases"),
        ("a: 1\n<<: {b: 1}\n", 2, "merge keys"),
        ("a: !!python/object:os.system x\n", 1, "tags"),
        ("a: !x b\n", 1, "tags"),
        ("%YAML 1.1\n---\na: no\n", 2, "directives"),
        ("a: 1\n---\nb: 1\n", 2, "a second document"),
        ("a:\n\tb: 1\n", 2, "a tab"),
        ("? [a]\n: b\n", 1, "a key must be a word"),
        ("a: {{b}}\n", 1, "a key must be a word"),
        ('a: 1\n"\\ud800": 1\n', 2, "a key holds half a character"),
        ('a: "\\UFFFFFFFF"\n', None, "is not YAML"),
        ("a: b: c\n", 1, '":" is not allowed here'),
        ("a: [1,\n", 2, "not YAML"),
        ("a: 'x\n", 2, "ends inside a quoted text"),
        ("a: 1\nb: \x01\n", 2, "a control character"),
        ("a: \n", 1, "has no value"),
        ("a:\n  - 1\n  -\n", 3, "has no value"),
        ("a: " + "9" * 19 + "\n", 1, "is too long for a number"),
        ("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH, 1, f"nested more than {MAX_DEPTH} deep"),
        ("a: " + "[" * 100_000, 1, f"nested more than {MAX_DEPTH} deep"),
        ("a: [" + "1," * MAX_NODES + "]", 1, f"more than {MAX_NODES} values"),
    ],
)
def test_refuses_what_could_surprise(text, line, told):
    _, problems = parse(text)
    assert len(problems) == 1
    assert told in problems[0].message
    assert problems[0].line == line


def test_a_syntax_error_does_not_quote_the_file():
    _, problems = parse("token:canary\nb: 'canary\n")
    assert problems
    assert "canary" not in problems[0].message


@given(st.text(max_size=200))
@example("\x85")
@example("a: 'b\n \t'")
@example("%")
@example("- ? :")
def test_any_text_is_read_or_refused(text):
    root, problems = parse(text)
    assert root is not None or problems


def filled(text, env=None):
    root, _ = parse("a: x\n")
    root.items["a"] = type(root.items["a"])(1, text)
    after, more, _ = interpolate(root, env or {})
    return plain(after)["a"] if not more else more[0].message


ENV = {"A": "one", "EMPTY": "", "DOLLAR": "${A}: [x]\n- y", "LATIN": "caf\udce9"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("x${A}y${A}", "xoneyone"),
        ("${B:-two}", "two"),
        ("${B:-}", ""),
        ("${EMPTY:-two}", "two"),
        ("${B:-${A}}", "one"),
        ("${B:-<${C:-${A}}>}", "<one>"),
        ("${A:-${MISSING}}", "one"),
        ("${DOLLAR}", "${A}: [x]\n- y"),
        ("$${A}", "${A}"),
        ("$${A} ${A}", "${A} one"),
        ("${B:-$${A}", "${A"),
        ("$A $$ $ }", "$A $$ $ }"),
        ("{${A}}", "{one}"),
        ("${B:-redis://h:1/0?x=y}", "redis://h:1/0?x=y"),
    ],
)
def test_fills_in_variables(text, value):
    assert filled(text, ENV) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("${B}", "the variable B is not set; set it in the environment, or B_FILE to a file that holds it"),
        ("${EMPTY}", "the variable EMPTY is set but empty"),
        ("${B:-${C}}", "the variable C is not set"),
        ("${LATIN}", "the variable LATIN is not UTF-8 text"),
        ("${LATIN:-b}", "the variable LATIN is not UTF-8 text"),
        ("${}", "is not followed by a name"),
        ("${1}", "is not followed by a name"),
        ("${A-b}", "does not end as it should"),
        ("${A:?b}", "does not end as it should"),
        ("${A", "does not end as it should"),
        ("${A:-b", "does not end as it should"),
        ("${A:-" * 5000, "nested more than"),
    ],
)
def test_refuses_variables_that_cannot_be_filled_in(text, told):
    assert told in filled(text, ENV)


def test_reads_a_variable_from_its_file_less_one_newline(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(b"s3cret\n\n")
    assert filled("${KEY}", {"KEY_FILE": str(file)}) == "s3cret\n"
    assert filled("${KEY}", {"KEY": "direct", "KEY_FILE": str(file)}) == "direct"
    assert filled("${KEY}", {"KEY": "", "KEY_FILE": str(file)}) == "s3cret\n"
    assert filled("${KEY:-d}", {"KEY_FILE": str(file)}) == "s3cret\n"
    file.write_bytes(b"s3cret\r\n")
    assert filled("${KEY}", {"KEY_FILE": str(file)}) == "s3cret"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "the file that KEY_FILE names cannot be read: No such file"),
        (b"", "the file that KEY_FILE names is empty"),
        (b"canary\xff", "cannot be read: it is not UTF-8 text"),
        (b"x" * 70_000, "holds more than 65536 bytes"),
    ],
)
def test_tells_why_the_file_of_a_variable_cannot_be_used(tmp_path, content, told):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    assert told in filled("${KEY:-default}", {"KEY_FILE": str(file)})


def test_refuses_special_files():
    assert "not an ordinary file" in filled("${KEY}", {"KEY_FILE": "/dev/zero"})


def test_variables_cannot_explode():
    assert "together come to more than" in filled("${A}" * 20_000, {"A": "x" * 100})


@given(
    st.text(max_size=30).filter(bool),
    st.text(max_size=30).filter(lambda text: "}" not in text and "${" not in text),
)
def test_a_value_arrives_as_it_is_whatever_it_holds(value, default):
    assert filled("<${V}>", {"V": value}) == f"<{value}>"
    if not default.endswith("$"):
        assert filled("${NONE:-" + default + "}") == default


@given(st.text(max_size=60))
def test_escaped_text_is_itself(text):
    assert filled(text.replace("$${", "").replace("${", "$${")) == text.replace("$${", "")


@given(st.integers(0, 3650 * 86_400_000).map(lambda ms: timedelta(milliseconds=ms)))
def test_durations_round_trip(duration):
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1s", 1), ("10m", 600), ("24h", 86400), ("30d", 2_592_000), ("0s", 0)],
)
def test_reads_durations(text, seconds):
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    "value", ["", "1", "s", "1.5s", "-1s", "1 s", "1h30m", "1S", "1w", "٣s", 60, 1.0, None, True, []]
)
def test_refuses_what_is_not_a_duration(value):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)


def test_refuses_durations_that_are_too_long_or_for_later():
    with pytest.raises(ValueError, match="is longer than 3650d"):
        parse_duration("999999999999999d")
    with pytest.raises(ValueError, match="business days"):
        parse_duration("3bd")
    with pytest.raises(ValueError, match="30d, or 3bd for business days"):
        parse_span("1 day")
