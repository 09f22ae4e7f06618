"""Advice on rules, the schema for editors, and the reference: none may lag behind the models."""

import json
from pathlib import Path

import jsonschema
import pytest

from notifier.clasp.decode import _KNOWN
from notifier.config import Config, json_schema, warnings
from notifier.config.advice import covers
from notifier.config.calendars import CalendarConfig
from notifier.config.digests import DigestConfig
from notifier.config.document import parse, plain
from notifier.config.explain import SINK_MODELS, keys
from notifier.config.model import GuardsConfig, HttpConfig, SourceConfig
from notifier.config.rules import RuleConfig, When, While
from notifier.config.sinks import ActiveConfig
from notifier.config.words import STATUSES
from tests.support.configs import config_with

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "config/notifier.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))]
MODELS = [
    Config,
    SourceConfig,
    HttpConfig,
    GuardsConfig,
    CalendarConfig,
    RuleConfig,
    When,
    While,
    *SINK_MODELS.values(),
    ActiveConfig,
    DigestConfig,
]


def config_of(*rules, sinks=("log",), **more):
    return Config.model_validate(
        {
            "name": "n",
            "source": {"base_url": "https://c.example", "api_key": "k", **more.pop("source", {})},
            "sinks": {name: {"type": "console"} for name in sinks},
            "rules": [{"name": f"r{index}", "notify": ["log"], **rule} for index, rule in enumerate(rules)],
            "self_reports": ["log"],
            **more,
        }
    )


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ({"category": "x", "entity": "connection"}, '"category" is only of a milestone'),
        ({"carrier": "c", "entity": "milestone"}, '"carrier" is only of a group_connection'),
        ({"group_id": "1", "type": "connection.*"}, '"group_id" is only of a group_connection'),
        ({"carrier": "c", "category": "x"}, "is only of a"),
        ({"entity": "milestone", "type": "connection.*"}, '"type" and "entity" exclude each other'),
        ({"entity": "milestone", "type": "notifier.*"}, "is not known of what the notifier says of itself"),
        ({"from": "a", "to": "a"}, '"from" and "to" are the same status'),
        ({"from": ["a", "b"], "not_from": ["b", "a"]}, '"from" and "not_from" exclude each other'),
        ({"to": "a", "not_to": "a"}, '"to" and "not_to" exclude each other'),
        ({"type": "*.added", "from": "a"}, '"from" like this'),
        ({"type": ["*.removed", "*.updated"], "to": "a"}, '"to" like this'),
        ({"field": "broker_url", "entity": "milestone"}, 'changes this "field"'),
        ({"field": "status", "type": "*.updated"}, 'changes this "field"'),
        ({"field": "group_id", "type": "group_connection.added"}, 'changes this "field"'),
    ],
)
def test_names_rules_that_can_never_match(when, told):
    found = warnings(config_of({"when": when}))
    assert len(found) == 1
    assert found[0].startswith('rules[0] "r0" can never match: ')
    assert told in found[0]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"entity": "connection", "category": "x"}, '"category" is only of a milestone'),
        ({"entity": ["connection", "milestone"], "carrier": "c"}, '"carrier" is only of a group_connection'),
        ({"entity": ["group_connection", "milestone"], "carrier": "c", "category": "x"}, "is only of a"),
        ({"entity": "milestone", "status": ["a", "b"], "not_status": ["b", "a"]}, "exclude each other"),
    ],
)
def test_names_conditions_that_can_never_hold(asked, told):
    found = warnings(config_of({"while": asked}))
    assert len(found) == 1
    assert found[0].startswith('rules[0] "r0" can never match: ')
    assert told in found[0]


@pytest.mark.parametrize(
    ("rule", "key", "status"),
    [
        ({"while": {"entity": "group_connection", "status": "needs_attn"}}, "status", "needs_attn"),
        ({"while": {"entity": "milestone", "not_status": ["x", "Completed"]}}, "not_status", "Completed"),
        ({"when": {"to": "Needs Attention"}}, "to", "Needs Attention"),
        ({"when": {"not_from": "in-review"}}, "not_from", "in-review"),
    ],
)
def test_names_statuses_that_are_misspelt(rule, key, status):
    [found] = warnings(config_of(rule))
    said = f'rules[0] "r0" has "{key}": "{status}", no status that Clasp documents; did you mean '
    assert found.startswith(said)


def test_the_statuses_of_the_advice_are_those_that_are_documented():
    assert set(STATUSES) == {status for known in _KNOWN.values() for status in known["status"]}
    assert warnings(config_of({"when": {"to": [*STATUSES, None, 7, "something_new"]}})) == []


NEEDS = {"entity": "group_connection", "status": "needs_attention"}


@pytest.mark.parametrize(
    ("first", "second", "is_hidden"),
    [
        ({}, {}, True),
        ({}, {"for": "10m"}, True),
        ({"for": "10m"}, {"for": "10m"}, True),
        ({"for": "10m"}, {"for": "1h"}, True),
        ({"for": "1h"}, {"for": "10m"}, False),
        ({"for": "1h"}, {}, False),
        ({"for": "1bd"}, {"for": "2bd"}, False),  # no lie, but nothing that is sure
        ({}, {"while": {**NEEDS, "carrier": "c"}}, True),
        ({"while": {**NEEDS, "carrier": "c"}}, {}, False),
        ({"while": {"entity": "group_connection"}}, {"while": {**NEEDS, "not_status": "x"}}, True),
        ({"while": {"entity": "group_connection", "not_status": "x"}}, {}, True),
        ({"while": {"entity": "group_connection", "unchanged": "1d"}}, {}, False),
        ({"include_existing": "no"}, {}, False),
        ({"calendar": "office"}, {}, False),
        ({"calendar": "office", "for": "1h"}, {"calendar": "office", "for": "2h"}, True),
        ({}, {"notify": ["ops#other"]}, False),
        ({"notify": ["log"]}, {"notify": ["log"]}, False),  # a program hears of every alert
        ({"when": {"to": "needs_attention"}, "while": None}, {}, False),
    ],
)
def test_names_alerts_that_a_channel_never_hears_of(first, second, is_hidden):
    rules = [{"notify": ["ops"], "while": NEEDS, **rule} for rule in (first, second)]
    text = "".join(
        f"  - {json.dumps({'name': f'r{at}'} | {key: value for key, value in rule.items() if value})}\n"
        for at, rule in enumerate(rules)
    )
    config = config_with(
        text,
        '  log: {type: console}\n  ops: {type: slack, token: xoxb-1, channel: "#ops"}\n',
        "calendars: {office: {timezone: UTC}}",
    )
    found = [line for line in warnings(config) if "never reaches" in line]
    assert len(found) == is_hidden, found
    if is_hidden:
        assert found[0].startswith(
            'rules[1] "r1" never reaches the sink "ops": rules[0] "r0" stands above it'
        )


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"type": "*"},
        {"from": None},
        {"to": None, "type": "*.removed"},
        {"type": "*.added", "from": [None, "x"]},
        {"field": ["status", "group_id"], "type": "*.status_changed"},
        {"entity": ["milestone", "group_connection"], "category": "x"},
        {"from": ["a", "b"], "to": ["a", "b"]},
        {"from": "a", "not_from": "b"},
        {"from": 0, "to": False, "not_to": 0},
        {"to": 1, "not_to": True},
        {"type": "notifier.drift"},
    ],
)
def test_is_silent_about_rules_that_can_match(when):
    assert warnings(config_of({"when": when})) == []


def test_names_rules_that_an_earlier_one_hides():
    found = warnings(config_of({"when": {}}, {"when": {"to": "x"}}, {"when": {"type": "notifier.*"}}))
    assert found == [
        'rules[1] "r1" never reaches the sink "log": rules[0] "r0" stands above it and has every event that it matches'
    ]


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ({}, {"to": "x"}, True),
        ({}, {"type": "notifier.*"}, False),
        ({"type": "*"}, {"type": "notifier.*"}, True),
        ({"to": ["x", "y"]}, {"to": "x"}, True),
        ({"to": 1}, {"to": True}, False),
        ({"not_to": 1}, {"not_to": True}, False),
        ({"not_to": 1}, {"to": True}, True),
        ({"to": "x"}, {"to": ["x", "y"]}, False),
        ({"to": "x"}, {}, False),
        ({"entity": "milestone"}, {"category": "c"}, True),
        ({"type": "milestone.*"}, {"entity": "milestone"}, True),
        ({"type": "*.status_changed"}, {"to": "x"}, False),
        ({"not_to": "x"}, {"to": "y"}, True),
        ({"not_to": "x"}, {"not_to": ["x", "y"]}, True),
        ({"not_to": ["x", "y"]}, {"not_to": "x"}, False),
        ({"not_from": "x"}, {"to": "y"}, False),
        ({"carrier_name": "A*"}, {"carrier_name": "A*", "to": "x"}, True),
        ({"carrier_name": "A*"}, {"carrier_name": "AB*"}, False),  # true, but not told: sound, not complete
    ],
)
def test_covers(wide, narrow, expected):
    assert covers(When.model_validate(wide), When.model_validate(narrow)) is expected


@pytest.mark.parametrize(("place", "is_told"), [("ops#ops", True), ("ops#other", False), ("ops", False)])
def test_names_a_sinks_own_channel_that_is_named_as_another_place(place, is_told):
    config = config_with(
        f'  - {{name: r, when: {{}}, notify: [log, "{place}"]}}\n',
        '  log: {type: console}\n  ops: {type: slack, token: xoxb-1, channel: "#ops"}\n',
    )
    told = 'rules[0] "r" names the sink\'s own channel, "ops#ops", as another place: write "ops"'
    assert [line for line in warnings(config) if "own channel" in line] == [told] * is_told


def test_names_time_zones_without_daylight_saving_time():
    digest = {"name": "d", "at": "mon 09:00", "timezone": "MST", "notify": ["log"]}
    calendars = {
        "office": {"timezone": "EST"},
        "other": {"timezone": "EST5EDT"},
        "third": {"timezone": "HST"},
    }
    found = [
        line
        for line in warnings(config_of({"when": {}}, calendars=calendars, digests=[digest]))
        if "time zone" in line
    ]
    assert found == [
        'calendars.office: the time zone "EST" has no daylight saving time; write America/New_York, or a city without it',
        'digests[0] "d": the time zone "MST" has no daylight saving time; write America/Denver, or a city without it',
    ]


def test_names_sinks_that_get_nothing():
    assert warnings(config_of({"when": {}}, sinks=("log", "idle"))) == [
        "sinks.idle: no rule, digest or self_reports names it: nothing is ever sent to it"
    ]


def test_names_trouble_with_names():
    rule = {"when": {"carrier_name": "A*"}}
    assert len(warnings(config_of(rule))) == 1
    assert len(warnings(config_of(rule, source={"enrich": False}))) == 2
    assert warnings(config_of({**rule, "fallback": ["log"]})) == []


def test_says_when_nobody_hears_of_trouble():
    assert "self_reports: nobody is told" in warnings(config_of({"when": {}}, self_reports=[]))[0]
    assert warnings(config_of({"when": {"type": "notifier.*"}}, self_reports=[])) == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_shipped_files_fit_the_schema_as_they_are_written(file):
    root, problems = parse(file.read_text())
    assert not problems
    validator = jsonschema.Draft202012Validator(json_schema())
    assert [error.message for error in validator.iter_errors(plain(root))] == []
    first = file.read_text().partition("\n")[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / schema).resolve() == ROOT / "config/notifier.schema.json"


def test_the_schema_takes_variables_and_refuses_nonsense():
    validator = jsonschema.Draft202012Validator(json_schema())
    jsonschema.Draft202012Validator.check_schema(json_schema())
    document = {
        "name": "${N}",
        "source": {
            "base_url": "${B}",
            "api_key": "${K}",
            "page_size": "${P:-10}",
            "enrich": "${E}",
            "poll_interval": "${I}",
        },
        "sinks": {"log": {"type": "console", "rate": "${R}", "retry": ["${T}"]}},
        "rules": [
            {"name": "r", "when": {"to": [None, 1, "x"], "type": "*"}, "notify": "log", "severity": "${S}"}
        ],
        "guards": {"removals": "${G}"},
    }
    assert validator.is_valid(document)
    for section, change in {
        "source": {"page_size": 101},
        "guards": {"removals": 0.05},
        "sinks": {"log": {"type": "consol"}},
        "rules": [{"name": "r", "while": {}, "notify": "log"}],
        "histroy": "30d",
    }.items():
        old = document.get(section)
        changed = {**old, **change} if isinstance(old, dict) else change
        assert not validator.is_valid({**document, section: changed}), section


def test_the_schema_in_the_tree_is_up_to_date():
    """If this fails: ``notifier schema > config/notifier.schema.json``."""
    assert json.loads((ROOT / "config/notifier.schema.json").read_text()) == json_schema()


def test_every_key_is_in_the_reference():
    reference = (ROOT / "docs/configuration.md").read_text()
    missing = [
        (model.__name__, key) for model in MODELS for key in keys(model) if f"`{key}`" not in reference
    ]
    assert missing == []


def test_every_key_has_a_description_for_editors():
    bare = [
        (model.__name__, name)
        for model in MODELS
        for name, field in model.model_fields.items()
        if not field.description and name != "directory"
    ]
    assert bare == []
