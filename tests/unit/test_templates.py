"""Titles and messages of a rule's own: what may stand in them, what they say, and where ours stand instead."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from notifier.config import warnings
from notifier.config.templates import LONGEST, NAMES, filled, rule_template
from notifier.core.events import report
from notifier.core.rules import Router
from notifier.sinks.slack_message import render, reply
from notifier.sinks.templated import values_of
from tests.support.configs import config_with
from tests.unit.test_config import GOOD as CONFIGURATION
from tests.unit.test_config import assert_told, load_text
from tests.unit.test_rules import ORIGIN, SINKS, event
from tests.unit.test_sink_slack_message import (
    HOSTILE,
    MILESTONE,
    alert_event,
    assert_valid_and_inert,
    group_event,
    shown,
)
from tests.unit.test_sink_slack_together import together

# (the template, what is said of it)
# fmt: off
BAD = {
    "name": ("{{ employr }}", ':22: rules[0].title: unknown name in a template "employr"; did you mean "employer"?'),
    "filter": ("{{ employer | uper }}", 'rules[0].title: unknown filter "uper"; did you mean "upper"?'),
    "attribute": ("{{ employer.id }}", 'no part of a name: write "employer_id", not "employer.id"'),
    "hidden": ("{{ employer['__class__'] }}", "no part of a value but a span: {{ entity[:8] }}"),
    "is": ("{{ carrier is defined }}", 'no "is": what is not known is an empty text; write {% if carrier %}'),
    "loop": ("{% for a in range(10**9) %}x{% endfor %}", 'holds "for"; a template may hold names'),
    "times": ("{{ 'x' * 10**9 }}", 'holds "*"; a template may hold names'),
    "power": ("{{ 9**9**9**9 }}", 'holds "**"; a template may hold names'),
    "set": ("{% set x = carrier ~ carrier %}", 'holds "set"; a template may hold names'),
    "call": ("{{ lipsum(10**9) }}", 'holds "call"; a template may hold names'),
    "macro": ("{% macro m() %}{% endmacro %}", 'holds "macro"; a template may hold names'),
    "include": ("{% include 'x' %}", 'holds "include"; a template may hold names'),
    "width": ("{{ '%9999999999d' % times }}", 'holds "%"; a template may hold names'),
    "pad": ("{{ employer | center(10000000000) }}", 'unknown filter "center"'),
    "format": ("{{ 'a' | format(1) }}", 'unknown filter "format"'),
    "no_end": ("{{ employer", "is not a template: unexpected end of template, expected 'end of print statement'"),
    "two_names": ("{{ employer carrier }}", 'expected token \'end of print statement\', got "..."'),
    "tag": ("{% canary %}", 'is not a template: encountered unknown tag "..."'),
    "open_if": ("{% if end %}", "is not a template: unexpected end of template. Jinja was looking for"),
    "no_else": ("{{ 'x' if end }}", 'holds an "if" in {{ }} without an "else"'),
    "deep": ("{{ " + "(" * 400 + "times" + ")" * 400 + " }}", "is nested too deep"),
    "long": ("x" * (LONGEST + 1), f"is longer than {LONGEST} characters"),
    "kinds": ("{{ times > 'a' }}", "cannot be filled in: a filter or a comparison is given what it does not take"),
    "arguments": ("{{ employer | upper('x') }}", "cannot be filled in"),
    "status": ("{% if status == 'needs_attention' %}x{% endif %}", 'compares "status" with what Clasp writes; here it is as people read it: "Needs Attention"'),
    "one_word": ("{% if 'completed' == to %}x{% endif %}", 'compares "to" with what Clasp writes'),
    "kind": ("{% if kind in ('connection', 'group_connection') %}x{% endif %}", 'as people read it: "group connection"'),
}
GOOD = {
    "{{ employer }} · {{ carrier }} waits": "Acme Corp · Guardian waits",
    "no template": "no template",
    "{{ employer }}{# remark #}": "Acme Corp",
    "{{ from }} to {{ to }}": "Processing to Needs Attention",
    "{{ category or carrier }}": "Guardian",
    "{{ category | default('none') }}": "none",
    "{{ employer | upper | replace('CORP', 'Inc') | trim }}": "ACME Inc",
    "{{ employer | truncate(7, true) }}": "Acme...",
    "{{ connection[:3] ~ connection[-1:] }}": "con1",
    "{% if times > 1 %}again{% else %}first{% endif %}": "first",
    "{{ 'late' if status == 'Needs Attention' and not end else 'fine' }}": "late",
    "{{ kind in ('milestone', 'group connection') }}": "True",
}
# fmt: on


def own(title: str | None = None, message: str | None = None, what: str = "opened", **alert) -> dict:
    """An alert's body as Slack gets it, with templates."""
    body = alert_event(what, **alert)
    body["data"] |= {"headline": title, "sentence": message}
    return body


def title_of(body: dict) -> str:
    return render(body).blocks[0]["text"]["text"]


@pytest.mark.parametrize(("template", "told"), BAD.values(), ids=BAD)
def test_what_a_template_may_not_hold_is_told_with_its_line_at_once(tmp_path, template, told):
    began = time.process_time()
    new = f"when: {{}}\n    title: {json.dumps(template)}"
    assert_told(tmp_path, "when: {}", new, told)
    assert time.process_time() - began < 2


def test_a_message_may_have_lines_and_its_fault_names_the_one(tmp_path):
    new = "when: {}\n    message: |\n      {{ employer }}\n      {{ carrier"
    assert_told(
        tmp_path, "when: {}", new, "rules[0].message: is not a template in its line 2: unexpected end"
    )


def test_what_a_variable_gave_is_not_in_the_error(tmp_path):
    for template in ("{{ ${X} }}", "{% ${X} %}", "{{ employer ${X} }}", "{{ employer | ${X} }}"):
        with pytest.raises(Exception, match=r"rules\[0\].title") as caught:
            load_text(tmp_path, _with_title(template), {"X": "canary"})
        assert "canary" not in str(caught.value)


def _with_title(template: str) -> str:
    return CONFIGURATION.replace("when: {}", f"when: {{}}\n    title: {json.dumps(template)}")


@pytest.mark.parametrize(("template", "said"), GOOD.items())
def test_a_template_says_what_is_known(template, said):
    assert title_of(own(template)) == f"⚠️ {said}"


def test_every_name_has_a_value():
    body = own(what="resolved", end="completed", status="completed", occurrence=3)
    assert values_of(body) == {
        "employer": "Acme Corp",
        "employer_id": "er_1",
        "external_id": "48213",
        "carrier": "Guardian",
        "carrier_id": "carr_1",
        "connection": "con_1",
        "kind": "group connection",
        "entity": "gc_1",
        "status": "Completed",
        "from": "Processing",
        "to": "Completed",
        "group_id": "00123",
        "category": "",
        "rule": "group-needs-attention",
        "severity": "warning",
        "event": "resolved",
        "since": "2026-11-23 22:01 UTC",
        "lasted": "3 h 2 min",
        "times": 3,
        "end": "completed",
    }


def test_what_is_not_known_is_the_id_or_nothing_and_never_an_error():
    body = group_event("milestone.removed", entity=MILESTONE, to=None)
    body["data"]["connection"]["employer"] |= {"name": None, "external_id": None}
    del body["data"]["carrier"]
    values = values_of(body)
    assert (values["employer"], values["category"]) == ("er_1", "Carrier Sync Completed")
    assert all(values[name] == "" for name in ("external_id", "carrier", "to", "lasted", "end", "group_id"))
    assert (values["times"], values["since"]) == (0, "2026-11-23 22:01 UTC")
    assert {*values_of({})} == {*values_of(None)} == {*NAMES}


def test_how_long_it_lasted_is_at_least_that_where_nobody_saw_it_begin():
    assert values_of(own(since_after=None))["lasted"] == "at least 3 h 2 min"


def test_the_title_and_the_message_stand_in_place_of_ours_and_the_rest_stays():
    body = own("{{ employer }} waits", "Call {{ carrier }}.\nSoon.")
    header, section, *rest = render(body).blocks
    assert header["text"]["text"] == "⚠️ Acme Corp waits"
    assert section["text"]["text"] == "Call Guardian. Soon."
    plain_body = alert_event("opened")
    _, plain_section, *plain_rest = render(plain_body).blocks
    assert section["fields"] == plain_section["fields"]
    assert rest == plain_rest
    assert render(body).text == "⚠️ Acme Corp waits (Call Guardian. Soon.)"
    assert "Acme Corp waits" in reply(body).text


def test_a_template_that_does_not_ask_about_the_end_does_not_speak_of_it():
    over = {"what": "resolved", "end": "completed", "status": "completed"}
    assert title_of(own("{{ employer }} waits", **over)) == "✅ Acme Corp · Guardian is completed"
    asks = "{{ employer }} {% if end == 'completed' %}is done{% elif end %}moved{% else %}waits{% endif %}"
    assert title_of(own(asks, **over)) == "✅ Acme Corp is done"
    assert title_of(own(asks)) == "⚠️ Acme Corp waits"
    assert title_of(own("{{ employer }} {{ event }}", **over)) == "✅ Acme Corp resolved"


def test_alerts_side_by_side_have_the_titles_of_their_rules_and_no_messages():
    entries = [own("{{ employer }} waits", "Call."), alert_event("opened")]
    lines = render(together(opened=2, entries=entries)).blocks[1]["text"]["text"]
    assert lines.split("\n") == [
        "• Acme Corp waits (group 00123, Processing → Needs Attention)",
        "• Acme Corp · Guardian needs attention (group 00123, Processing → Needs Attention)",
    ]


def test_a_title_is_one_line_of_150_characters_and_never_empty():
    assert title_of(own("{{ employer }}\n" + "x" * 200)).startswith("⚠️ Acme Corp xxx")
    lines = render(together(opened=1, entries=[own("x" * 400)] * 2)).blocks[1]["text"]["text"]
    assert lines.count("x") == 2 * 149
    assert title_of(own(" {{ category }} ")) == "⚠️ Acme Corp · Guardian needs attention"


def test_a_template_that_fails_after_all_is_told_once_and_our_words_serve():
    body = own("{% if external_id == '8' %}{{ times > 'a' }}{% endif %}{{ employer }}")
    body["data"]["connection"]["employer"]["external_id"] = "7"
    assert title_of(body) == "⚠️ Acme Corp"
    for number in range(2):
        broken = own("{% if external_id == '7' %}{{ times > 'a' }}{% endif %}{{ employer }}")
        broken["data"] |= {"rule": "broken-one"}
        broken["data"]["connection"]["employer"]["external_id"] = "7"
        with capture_logs() as logs:
            assert title_of(broken) == "⚠️ Acme Corp · Guardian needs attention"
        assert [line["event"] for line in logs] == ["template.failed"] * (1 - number)


def test_nothing_grows_by_what_it_replaces_or_by_a_long_name():
    ten = " | replace('a', 'aaaaaaaaaa')" * 6
    assert len(filled("{{ 'a'" + ten + " }}", values_of(own()))) <= 4000
    body = own()
    body["data"]["connection"]["employer"]["name"] = "x" * 5000
    assert values_of(body)["employer"] == "x" * 200


def test_reports_are_told_in_our_words():
    rules = '  - {name: r, when: {type: "notifier.*"}, title: t, message: m, notify: [ops]}'
    said = report("notifier.drift", ORIGIN, nonce="1", message="Odd.", cause="c", severity="info")
    [owed] = Router(config_with(rules, SINKS, "self_reports: []")).route(said).owed
    assert render(json.loads(owed.delivery.body)).text == "ℹ️ Clasp answered something new (Odd.)"


def test_programs_get_no_templates():
    rules = '  - {name: r, when: {}, title: "{{ employer }}", message: m, notify: [ops, backend]}'
    config = config_with(rules, SINKS)
    bodies = {owed.sink: json.loads(owed.delivery.body) for owed in Router(config).route(event()).owed}
    assert "headline" not in bodies["backend"]["data"]
    assert title_of(bodies["ops"]) == "ℹ️ Acme Corp"


def test_a_sink_that_must_not_know_the_carrier_does_not_hear_of_it_by_a_template():
    sinks = SINKS.replace('channel: "#ops"', 'channel: "#ops", exclude: [carrier]')
    rules = '  - {name: r, when: {}, title: "{{ employer }} at {{ carrier }}{{ carrier_id }}", notify: [ops]}'
    [owed] = Router(config_with(rules, sinks)).route(event()).owed
    assert title_of(json.loads(owed.delivery.body)) == "ℹ️ Acme Corp at"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("when: {}, notify: [backend]", "are for sinks for people, and it names none"),
        ('when: {type: "notifier.*"}, notify: [ops]', "in other words than those of a rule"),
        ("when: {}, notify: [backend, ops]", None),
    ],
)
def test_words_that_nobody_reads_are_warned_of(rule, told):
    said = [
        line for line in warnings(config_with(f"  - {{name: r, title: t, {rule}}}", SINKS)) if "words" in line
    ]
    assert [told in line for line in said] == ([True] if told else [])


def test_every_name_and_filter_is_documented():
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    table = page.partition("### `title` and `message`")[2].partition("\n## ")[0]
    for name in (*NAMES, "capitalize", "default", "lower", "replace", "title", "trim", "truncate", "upper"):
        assert f"`{name}`" in table, name


PARTS = st.sampled_from(
    ["{{ employer }}", "{{ carrier | upper }}", "{% if end %}", "{% endif %}", "{{ times }}", "{{", "{{ 'x' * 9 }}", "{{ employer ~ carrier }}", "{{ employer | replace('a', employer) | replace('a', employer) | replace('a', employer) }}"]
)  # fmt: skip


@given(st.lists(PARTS | HOSTILE, max_size=6).map("".join), HOSTILE, st.sampled_from(["opened", "resolved"]))
@settings(max_examples=150, deadline=None)
def test_whatever_a_template_says_is_inert(template, employer, what):
    body = own(template, template, what, end="completed" if what == "resolved" else None)
    body["data"]["connection"]["employer"]["name"] = employer
    assert_valid_and_inert(render(body))
    assert_valid_and_inert(reply(body))
    assert_valid_and_inert(render(together(opened=2, entries=[body, body])))
    assert "<!" not in shown(body).replace("<!date", "")


@given(st.text(max_size=60) | st.lists(PARTS, max_size=8).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_template_or_a_plain_error(text):
    try:
        rule_template(text)
    except ValueError:
        return
