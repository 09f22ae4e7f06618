"""Which keys of a rule keep it from an event."""

from __future__ import annotations

import json

import pytest

from notifier.config.rules import RuleConfig
from notifier.core.events import recorded
from notifier.core.explaining import unmet
from notifier.core.rules import Router
from notifier.testing import event
from tests.support.configs import config_with


def a_rule(**keys) -> RuleConfig:
    return RuleConfig.model_validate({"name": "rule", "notify": ["backend"], **keys})


def an_event(type_: str = "group_connection.status_changed", **data):
    body = json.loads(event(type_, **data).body)
    return recorded(body["type"], body["timestamp"], body["data"])


@pytest.mark.parametrize(
    ("when", "keys"),
    [
        ({}, ()),
        ({"type": "group_connection.*"}, ()),
        ({"type": "connection.*"}, ("type",)),
        ({"entity": "milestone"}, ("entity",)),
        ({"to": "completed"}, ("to",)),
        ({"from": "processing", "to": "completed"}, ("to",)),
        ({"from": "pending", "to": "completed"}, ("from", "to")),
        ({"not_to": "needs_attention"}, ("not_to",)),
        ({"carrier": "carr_1", "group_id": "other"}, ("group_id",)),
        ({"employer": "48213"}, ()),
        ({"employer": "48214", "carrier_name": "Delta*"}, ("employer", "carrier_name")),
        ({"carrier_name": "Guard*"}, ()),
        ({"field": "group_id"}, ("field",)),
        ({"connection": "conn_2"}, ("connection",)),
    ],
)
def test_the_keys_that_do_not_match_are_named(when, keys):
    assert sorted(unmet(a_rule(when=when), an_event())) == sorted(keys)


def test_a_name_that_was_not_known_is_said_to_be_so():
    nameless = an_event(carrier={"id": "carr_1", "name": None})
    assert unmet(a_rule(when={"carrier_name": "G*"}), nameless) == ("carrier_name (the name was not known)",)


@pytest.mark.parametrize(
    ("while_", "keys"),
    [
        ({"entity": "group_connection", "status": "needs_attention"}, ()),
        ({"entity": "group_connection", "status": "completed"}, ("status",)),
        ({"entity": "connection", "not_status": "needs_attention"}, ("not_status", "entity")),
        ({"entity": "group_connection", "unchanged": "3d"}, ()),
    ],
)
def test_so_are_those_of_a_condition_time_aside(while_, keys):
    assert unmet(a_rule(**{"while": while_}), an_event()) == keys


def test_reports_are_asked_for_by_type():
    report = an_event("notifier.drift")
    assert unmet(a_rule(when={}), report) == ("type",)
    assert unmet(a_rule(when={"type": "notifier.*"}), report) == ()


def test_no_key_is_named_exactly_where_the_rule_takes_the_event():
    """What is explained and what is done are the same, for every rule of a file with many."""
    config = config_with(
        "\n".join(
            f"  - {{name: r{n}, when: {when}, notify: [backend]}}"
            for n, when in enumerate(
                [
                    "{to: needs_attention}",
                    "{from: needs_attention}",
                    "{type: '*.added'}",
                    "{entity: group_connection, carrier: carr_1}",
                    "{carrier_name: 'Guard*', employer: er_2}",
                    "{field: status}",
                    "{type: 'notifier.*'}",
                ]
            )
        )
    )
    for type_, data in (
        ("group_connection.status_changed", {}),
        ("group_connection.added", {"from": None}),
        ("connection.updated", {"from": "x", "to": "x", "changed": {"broker_url": [None, "y"]}}),
        ("notifier.drift", {}),
    ):
        told = an_event(type_, **data)
        for rule in config.rules:
            router = Router(config.model_copy(update={"rules": (rule,), "self_reports": ()}))
            assert bool(router.route(told).owed) == (unmet(rule, told) == ()), (rule.when, type_)
