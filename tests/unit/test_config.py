"""Loading: what is shipped loads, what is wrong is told with file, line, path and the nearest word."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.config import Config, Target, load
from notifier.config.document import parse, plain
from notifier.errors import ConfigError
from notifier.models import Kind

ROOT = Path(__file__).parents[2]
ENV = {
    "CLASP_API_KEY": "canary-key",
    "SLACK_BOT_TOKEN": "xoxb-canary-token",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/canary",
    "WEBHOOK_URL": "https://hooks.example.com/canary",
    "WEBHOOK_SECRET": "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5",
    "PAGERDUTY_ROUTING_KEY": "canary-routing-key",
}
GOOD = """\
name: test
source:
  base_url: https://clasp.example
  api_key: canary-key
sinks:
  ops:
    type: slack
    token: xoxb-canary
    channel: "#ops"
  hook:
    type: slack
    webhook_url: https://hooks.slack.com/services/canary
  backend:
    type: webhook
    url: https://hooks.example.com/canary
    secrets: [canary-secret]
  log:
    type: console
rules:
  - name: first
    when: {}
    notify: [backend]
"""


def load_text(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Config:
    file = tmp_path / "notifier.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, env or {})


def problems_of(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text, env)
    assert "canary" not in str(caught.value)
    return tuple(problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems)


@pytest.mark.parametrize(
    "file",
    [ROOT / "config/notifier.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))],
    ids=lambda f: f.name,
)
def test_shipped_files_load(file):
    config = load(file, ENV)
    assert config.directory == file.parent
    assert "canary" not in repr(config) + str(config.model_dump())


def test_the_minimal_example_needs_one_variable_only():
    load(ROOT / "config/examples/minimal-console.yaml", {"CLASP_API_KEY": "k"})


def test_every_variable_of_the_shipped_files_is_in_the_example_of_an_environment():
    example = (ROOT / ".env.example").read_text()
    for file in [ROOT / "config/notifier.yaml"]:
        for name in re.findall(r"\$\{([A-Z_]{3,})", file.read_text().split("name: ", 1)[1]):
            assert f"\n{name}=" in example


def test_defaults(tmp_path):
    config = load_text(tmp_path, GOOD)
    assert config.source.poll_interval == timedelta(minutes=1)
    assert (config.source.page_size, config.source.enrich, config.source.request_budget) == (100, True, 50)
    assert (config.source.timeout, config.source.lease) == (timedelta(seconds=30), timedelta(seconds=5))
    assert config.store.get_secret_value() == "embedded:.notifier"
    assert config.self_reports == (Target("ops"), Target("hook"))
    assert (config.http, config.heartbeat_url, config.links) == (None, None, {})
    assert config.guards.removals == pytest.approx(0.05)
    assert config.guards.removals_min == 5
    assert config.history == timedelta(days=30)
    sinks = config.sinks
    assert [sinks[name].concurrency for name in ("ops", "backend", "log")] == [1, 16, 1]
    assert [sinks[name].rate for name in ("ops", "backend", "log")] == [1.0, None, None]
    assert all(sink.exclude == ("broker_federal_ein",) and sink.retry is None for sink in sinks.values())
    assert all(sink.timeout == timedelta(seconds=15) for sink in sinks.values())


def test_everything_that_can_be_said(tmp_path):
    config = load_text(
        tmp_path,
        """\
name: all
source: {base_url: "https://Clasp.Example/", api_key: k, api_version: 2026-04-24, poll_interval: 1s,
         page_size: "${N}", enrich: "${FLAG}", timeout: 500ms, lease: 2s, request_budget: 0}
store: rediss://:p@redis.example:6380/1?verify=none
sinks:
  ops: {type: slack, token: t, channel: ops, api_url: "http://127.0.0.1:1/api", rate: null, retry: [5s, 5m]}
  in: {type: webhook, url: "http://[::1]:80/x", allow_private_addresses: true, secrets: [a, b],
       headers: {X-Tenant: "7"}, exclude: [], rate: 2.5, concurrency: 4, timeout: 3s, format: standard}
rules:
  - name: one
    when: {type: "*.status_changed", entity: [group_connection], from: no, to: [on, null, 3, 12:30],
           group_id: "00123", carrier_name: Del*, not_from: a, not_to: b, field: carrier, connection: c,
           employer: e, employer_name: f, carrier: g}
    severity: critical
    note: |
      Two
      lines
    notify: ["ops#C0123ABCD", in]
    fallback: "ops#dental"
self_reports: []
links: {employer: "https://admin.example.com/{external_id}?x={id}"}
http: {listen: "[::1]:0"}
heartbeat_url: https://hc.example.com/ping
history: 24h
guards: {removals: 0.5%, removals_min: 0}
""",
        {"N": "25", "FLAG": "False"},
    )
    assert (config.source.base_url, config.source.page_size, config.source.enrich) == (
        "https://clasp.example",
        25,
        False,
    )
    assert config.source.api_version == "2026-04-24"
    rule = config.rules[0]
    assert rule.when.from_ == ("no",)
    assert rule.when.to == ("on", None, 3, "12:30")
    assert (rule.when.group_id, rule.when.entity) == (("00123",), (Kind.GROUP_CONNECTION,))
    assert rule.notify == (Target("ops", "C0123ABCD"), Target("in"))
    assert (rule.fallback, rule.note) == ((Target("ops", "#dental"),), "Two\nlines")
    assert config.sinks["ops"].channel == "#ops"
    assert config.sinks["ops"].api_url == "http://127.0.0.1:1/api/"
    assert config.sinks["ops"].retry == (timedelta(seconds=5), timedelta(minutes=5))
    assert config.self_reports == ()
    assert (config.http.host, config.http.port) == ("::1", 0)
    assert config.guards.removals == pytest.approx(0.005)


RULE = "  - name: first\n    when: {}\n    notify: [backend]\n"
# (what is replaced in GOOD, by what, what is said)
# fmt: off
BAD = {
    "unknown_key": ("when: {}", "wehn: {}", 'notifier.yaml:21: rules[0].wehn: unknown key; did you mean "when"?'),
    "unknown_top_key": ("name: test", "name: test\nsinsk: 1", 'notifier.yaml:2: sinsk: unknown key; did you mean "sinks"?'),
    "unknown_source_key": ("api_key: c", "api_token: x\n  api_key: c", ':4: source.api_token: unknown key; did you mean "api_key"?'),
    "unknown_sink_key": ("secrets: [", "formta: x\n    secrets: [", ':16: sinks.backend.formta: unknown key; did you mean "format"?'),
    "key_of_another_sink": ("type: console", "type: console\n    secrets: [a]", "sinks.log.secrets: unknown key; known: timeout,"),
    "unknown_when_key": ("when: {}", "when: {form: x}", 'rules[0].when.form: unknown key; did you mean "from"?'),
    "python_name": ("when: {}", "when: {from_: x}", 'rules[0].when.from_: unknown key; did you mean "from"?'),
    "not_a_key": ("name: test", "name: test\ndirectory: /", ":2: directory: unknown key"),
    "secret_as_key": ("when: {}", "when: {token:xoxb-canary}", 'rules[0].when."...": '),
    "missing": ("  base_url: https://clasp.example\n", "", ":2: source.base_url: required, and not there"),
    "no_sinks": (GOOD[GOOD.index("sinks:") : GOOD.index("rules:")], "sinks: {}\n", ":5: sinks: no sink: there is nowhere"),
    "no_rules": (GOOD[GOOD.index("rules:") :], "", "notifier.yaml:1: rules: no rule: nothing would be sent"),
    "empty_value": ("when: {}", "when:", ":21: rules[0].when: has no value"),
    "hash_comment": ('channel: "#ops"', "channel: #ops", ':9: sinks.ops.channel: has no value; remove the key, or write one (a text that begins with "#" needs quotes)'),
    "unknown_type": ("when: {}", "when: {type: group_conection.added}", 'rules[0].when.type: unknown event type "group_conection.added"; did you mean "group_connection.added"?'),
    "empty_glob": ("when: {}", "when: {type: [groups.*]}", 'rules[0].when.type[0]: unknown event type that this pattern matches "groups.*"'),
    "alert_type": ("when: {}", "when: {type: alert.opened}", "alerts are told by their own rule"),
    "unknown_entity": ("when: {}", "when: {entity: milestones}", 'unknown entity "milestones"; did you mean "milestone"?'),
    "unknown_field": ("when: {}", "when: {field: broker_ulr}", 'unknown field "broker_ulr"; did you mean "broker_url"?'),
    "unknown_severity": ("when: {}", "when: {}\n    severity: warn", 'rules[0].severity: unknown severity "warn"; did you mean "warning"?'),
    "unknown_sink_type": ("type: console", "type: consol", ':18: sinks.log.type: unknown type of sink "consol"; did you mean "console"?'),
    "no_sink_type": ("type: console", "timeout: 1s", "sinks.log.type: required, and not there"),
    "quiet_hours": ("type: console", "type: console\n    quiet_hours: office", 'quiet_hours: is written the other way round: a sink for people has "active": a calendar of the hours in which alerts may disturb'),
    "later_sink_type": ("type: console", "type: mail", 'there are no sinks of type "mail"; use type: apprise with a mailto: URL'),
    "unknown_format": ("secrets: [", "format: standart\n    secrets: [", 'unknown format "standart"; did you mean "standard"?'),
    "unknown_sink": ("notify: [backend]", "notify: [bakend]", ':22: rules[0].notify[0]: unknown sink "bakend"; did you mean "backend"?'),
    "unknown_self_report": ("rules:", "self_reports: [opss]\nrules:", 'self_reports[0]: unknown sink "opss"; did you mean "ops"?'),
    "sink_twice": ("notify: [backend]", 'notify: [ops, "ops#b"]', "rules[0].notify[1]: names this sink twice"),
    "channel_of_webhook": ("notify: [backend]", 'notify: "backend#b"', 'rules[0].notify: "#" chooses a Slack channel'),
    "channel_of_incoming": ("notify: [backend]", 'notify: "hook#b"', "an incoming webhook posts to its own channel"),
    "fallback_without_name": ("when: {}", "when: {carrier: c}\n    fallback: [ops]", 'rules[0].fallback: only for rules on "carrier_name"'),
    "proxy": ("type: console", "type: console\n    proxy: x", 'sinks.log.proxy: "proxy" is for sinks that are reached over the network'),
    "same_name": (RULE, RULE + RULE, ":23: rules[1].name: rules[0] has this name already"),
    "reserved_name": ("name: first", "name: self_reports", 'rules[0].name: "self_reports" is the name that'),
    "bad_rule_name": ("name: first", "name: First", "rules[0].name: is not a name: small letters"),
    "bad_name": ("name: test", 'name: "a{b}"', ":1: name: is not a name"),
    "bad_sink_name": ("  log:", '  "l#g":', ':17: sinks."l#g": is not a name'),
    "number_as_id": ("when: {}", "when: {group_id: 00123}", "rules[0].when.group_id: is a number in YAML (00123 would become 123)"),
    "bool_as_id": ("when: {}", "when: {carrier: true}", "rules[0].when.carrier: is a switch in YAML"),
    "mapping_as_status": ("when: {}", "when: {to: {a: b}}", "rules[0].when.to: expected a status"),
    "empty_list": ("when: {}", "when: {to: []}", "rules[0].when.to: is an empty list"),
    "list_for_mapping": ("when: {}", "when: []", "rules[0].when: expected keys and values"),
    "page_size": ("  api_key", "  page_size: 101\n  api_key", ":4: source.page_size: must be at most 100"),
    "page_size_true": ("  api_key", "  page_size: true\n  api_key", "source.page_size: is not a whole number"),
    "page_size_under": ("  api_key", "  page_size: '1_0'\n  api_key", "source.page_size: is not a whole number"),
    "no_as_switch": ("  api_key", "  enrich: no\n  api_key", "source.enrich: is neither true nor false"),
    "interval": ("  api_key", "  poll_interval: 999ms\n  api_key", "source.poll_interval: must be at least 1s"),
    "interval_number": ("  api_key", "  poll_interval: 60\n  api_key", "source.poll_interval: is not a duration; write a whole number and a unit"),
    "business_days": ("name: test", "name: test\nhistory: 3bd", 'history: counts business days, which only rules with "while" know; use days ("3d")'),
    "zero": ("name: test", "name: test\nhistory: 0s", "history: must be longer than 0s"),
    "rate": ("type: console", "type: console\n    rate: 0", "sinks.log.rate: must be more than 0"),
    "rate_tiny": ("type: console", "type: console\n    rate: 1e-320", "sinks.log.rate: must be at least one a day"),
    "percent": ("name: test", "name: test\nguards: {removals: 0.05}", "guards.removals: is not a percentage"),
    "percent_over": ("name: test", "name: test\nguards: {removals: 101%}", "guards.removals: is more than 100%"),
    "listen": ("name: test", "name: test\nhttp: {listen: 9464}", "http.listen: is a number in YAML"),
    "listen_port": ("name: test", 'name: test\nhttp: {listen: "h:65536"}', "http.listen: names no port from 0 to 65535"),
    "listen_ipv6": ("name: test", 'name: test\nhttp: {listen: "::1:1"}', "http.listen: is not an address to listen at"),
    "listen_label": ("name: test", 'name: test\nhttp: {listen: "a..b:80"}', "http.listen: names a host that is neither a name nor an IP"),
    "listen_long": ("name: test", f"name: test\nhttp: {{listen: '{'x' * 300}:80'}}", "http.listen: names a host that is neither"),
    "base_future": ("https://clasp.example", '"https://[v1.a]"', "source.base_url: is not a URL"),
    "http_url": ("https://clasp.example", "http://canary.example", "source.base_url: begins with http://"),
    "userinfo": ("https://clasp.example", "https://u:canary@c.example", "source.base_url: holds a user name or password"),
    "odd_literal": ("https://clasp.example", "https://0x7f.1", "source.base_url: names a host by a number"),
    "base_query": ("https://clasp.example", "https://c.example?canary", "source.base_url: holds a query"),
    "url_space": ("https://clasp.example", "https://c.example/a canary", "source.base_url: is not a URL"),
    "webhook_http": ("https://hooks.example.com/", "http://hooks.example.com/", "sinks.backend.url: begins with http://"),
    "webhook_private": ("https://hooks.example.com/", "https://10.0.0.7/", "sinks.backend.url: is on loopback or in a private network; that needs allow_private_addresses: true"),
    "webhook_loopback": ("https://hooks.example.com/", "http://localhost:1/", "that needs allow_private_addresses: true"),
    "webhook_mapped": ("https://hooks.example.com/", "https://[::ffff:10.0.0.1]/", "that needs allow_private_addresses: true"),
    "no_secret": ("secrets: [canary-secret]", "secrets: []", "sinks.backend.secrets: needs at least 1"),
    "three_secrets": ("secrets: [canary-secret]", "secrets: [a, b, c]", "sinks.backend.secrets: may hold at most 2"),
    "bad_secret": ("[canary-secret]", '["whsec_canary!"]', 'sinks.backend.secrets[0]: begins with "whsec_"'),
    "number_secret": ("[canary-secret]", "[12345678]", "sinks.backend.secrets[0]: is a number in YAML"),
    "own_header": ("secrets: [", "headers: {Webhook-Id: x}\n    secrets: [", "sinks.backend.headers.Webhook-Id: is a header that the notifier sets itself"),
    "header_value": ("secrets: [", 'headers: {X-A: "canary\\nb"}\n    secrets: [', "sinks.backend.headers.X-A: holds a line break"),
    "unknown_exclude": ("secrets: [", "exclude: [broker_federal_ien]\n    secrets: [", 'sinks.backend.exclude[0]: unknown field "broker_federal_ien"; did you mean "broker_federal_ein"?'),
    "both_tokens": ("channel:", "webhook_url: https://h.example/canary\n    channel:", '"token" and "webhook_url" exclude each other'),
    "no_token": ('    token: xoxb-canary\n    channel: "#ops"\n', "", ":6: sinks.ops: a Slack sink needs"),
    "no_channel": ('    channel: "#ops"\n', "", 'sinks.ops.channel: required with "token"'),
    "link_field": ("name: test", 'name: test\nlinks: {e: "https://x.example/{id.real}"}', "links.e: may hold {external_id} and {id} only"),
    "link_host": ("name: test", 'name: test\nlinks: {e: "https://{id}.example/"}', "links.e: holds a field in its host"),
    "link_brace": ("name: test", 'name: test\nlinks: {e: "https://x.example/{"}', 'links.e: has a "{" without "}"'),
    "sentinel": ("name: test", "name: test\nstore: redis+sentinel://canary", "store: redis+sentinel:// is not available in this release"),
    "store_scheme": ("name: test", "name: test\nstore: canary", "store: begins with none of redis://"),
    "store_host": ("name: test", "name: test\nstore: redis://", "store: names no host"),
    "store_label": ("name: test", "name: test\nstore: redis://a..b/0", "store: names a host that is neither a name nor an IP"),
    "store_long": ("name: test", f"name: test\nstore: redis://{'x' * 300}", "store: names a host that is neither a name nor an IP"),
    "store_future": ("name: test", "name: test\nstore: 'redis://[v1.a]/0'", "store: is not a URL"),
    "store_database": ("name: test", "name: test\nstore: redis://h/abc", "store: names a database that is no number"),
    "store_far_database": ("name: test", "name: test\nstore: redis://h/1234567", "store: names a database that is no number"),
    "store_halved": ("name: test", 'name: test\nstore: "unix:///\\uD800"', "store: holds half a character"),
    "embedded_halved": ("name: test", 'name: test\nstore: "embedded:\\uD800"', "store: holds half a character"),
    "embedded_nul": ("name: test", 'name: test\nstore: "embedded:\\0"', "store: holds a line break or another control"),
    "halved_key": ("name: test", 'name: test\n"\\uD800": 1', "notifier.yaml:2: a key holds half a character"),
    "halved_note": ("when: {}", 'when: {}\n    note: "\\uDEAD"', ":22: rules[0].note: holds half a character"),
    "halved_status": ("when: {}", 'when: {to: ["\\uD800"]}', "rules[0].when.to[0]: holds half a character"),
    "halved_token": ("xoxb-canary", '"canary\\uD83D\\uDE00"', "sinks.ops.token: holds half a character (U+D800 to U+DFFF)"),
    "halved_secret": ("[canary-secret]", '["canary\\uD800"]', "sinks.backend.secrets[0]: holds half a character"),
    "halved_url": ("https://hooks.example.com/canary", '"https://h.example/\\uD800"', "sinks.backend.url: holds half a character"),
    "embedded_directory": ("name: test", "name: test\nstore: 'embedded:'", "store: names no directory"),
}
# fmt: on


@pytest.mark.parametrize(("old", "new", "told"), BAD.values(), ids=BAD)
def test_tells_what_is_wrong_and_where(tmp_path, old, new, told):
    assert_told(tmp_path, old, new, told)


def assert_told(tmp_path, old, new, told):
    """With ``new`` in place of ``old`` there is one problem, which says this."""
    assert old in GOOD
    problems = problems_of(tmp_path, GOOD.replace(old, new))
    assert len(problems) == 1, problems
    assert problems[0].startswith("notifier.yaml:")
    assert told in problems[0]


def test_tells_all_problems_at_once_in_the_order_of_the_file(tmp_path):
    text = GOOD
    for key in ("unknown_top_key", "interval", "unknown_format", "unknown_sink", "no_channel"):
        old, new, _ = BAD[key]
        text = text.replace(old, new)
    problems = problems_of(tmp_path, text.replace("canary-key", "${NO_SUCH}"))
    assert len(problems) == 6
    lines = [int(problem.split(":")[1]) for problem in problems]
    assert lines == sorted(lines)
    assert "the variable NO_SUCH is not set" in "\n".join(problems)


def test_never_tells_the_value_of_a_variable(tmp_path):
    text = """\
name: ${V}
source: {base_url: "${V}", api_key: "${V}", poll_interval: "${V}", page_size: "${V}", enrich: "${V}"}
store: ${V}
sinks:
  a: {type: "${V}"}
  b: {type: webhook, url: "${V}", secrets: ["${V}"], format: "${V}", exclude: ["${V}"], rate: "${V}"}
  c: {type: slack, token: "${V}", channel: "${V}", api_url: "${V}"}
rules:
  - {name: "${V}", when: {type: "${V}", entity: "${V}", field: "${V}"}, notify: ["${V}"], severity: "${V}"}
links: {a: "${V}"}
http: {listen: "${V}"}
heartbeat_url: ${V}
guards: {removals: "${V}"}
"""
    problems = problems_of(tmp_path, text, {"V": "canary value\n{"})
    assert len(problems) == 26
    assert all("(the value comes from V)" in problem for problem in problems)


def test_the_error_carries_no_pydantic_error(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, GOOD.replace("https://clasp.example", "http://canary.example"))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- a\n", ":1: expected keys and values at the top"),
        (b"name: \xff\n", ":1: is not UTF-8 text"),
        (b"a: b\n" * 300_000, "is larger than 1 MiB"),
    ],
)
def test_refuses_what_is_no_configuration(tmp_path, content, told):
    file = tmp_path / "notifier.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(told)):
        load(file, {})


def test_says_how_to_get_a_file_that_is_missing(tmp_path):
    with pytest.raises(
        ConfigError, match="there is no such file; name one with --config or in NOTIFIER_CONFIG"
    ):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path, {})


@pytest.mark.parametrize("host", ["redis-1", "redis_1", "_redis", "db", "a_b.c_d.", "10.0.0.1", "[fd00::1]"])
@pytest.mark.parametrize("rest", ["", "/", "/999999", ":6380/1?verify=none"])
def test_a_store_may_have_any_name_of_a_network_of_its_own(tmp_path, host, rest):
    assert load_text(tmp_path, f"store: 'redis://u:p@{host}{rest}'\n{GOOD}").store


def test_optional_addresses_may_be_left_empty_by_a_variable(tmp_path):
    config = load_text(tmp_path, "heartbeat_url: ${H:-}\n" + GOOD)
    assert config.heartbeat_url is None


def places(value, path=()):
    """Every path in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def put(value, path, new):
    """The document with another value at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 10**19)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["*", "#", "a#b", "${A}", "${", "https://", "http://[", "https://x:y", "redis://h:x", "0s", "[::1]:1"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
DOCUMENT = plain(parse((ROOT / "config/examples/routing.yaml").read_text())[0])


@given(st.sampled_from([path for path in places(DOCUMENT) if path]), JUNK)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_stands_somewhere_is_taken_or_refused_in_plain_words(tmp_path, path, junk):
    text = json.dumps(put(DOCUMENT, path, junk))
    told: tuple[str, ...] = ()
    try:
        load_text(tmp_path, text, ENV)
    except ConfigError as error:
        told = error.problems
    assert all(problem.startswith(str(tmp_path)) and "canary" not in problem for problem in told)
