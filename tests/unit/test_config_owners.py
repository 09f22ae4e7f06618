"""Owners and mentions in a configuration: what is wrong is told where it stands."""

from __future__ import annotations

import pytest

from notifier.config import Target, load, warnings
from notifier.poller.roster import check_file
from tests.unit.test_config import ENV, GOOD, ROOT, assert_told, load_text

RULE = "    when: {}\n    notify: [backend]\n"
OWNED = "    when: {}\n    notify: [owner]\n"
FILE = "name: test\nowners: {file: owners.csv, sink: ops}\n"

# (what is replaced in GOOD, by what, what is said)
# fmt: off
BAD = {
    "no_owners": (RULE, OWNED, ':22: rules[0].notify[0]: names the owner, and there are no owners; add "owners"'),
    "no_owners_mention": (RULE, RULE + "    mention: owner\n", 'rules[0].mention: names the owner, and there are no owners; add "owners"'),
    "neither": ("name: test", "name: test\nowners: {sink: ops}", ':2: owners: needs "file" or "url": the table of owners'),
    "both": ("name: test", 'name: test\nowners: {file: a, url: "https://hr.example.com/canary"}', ':2: owners.url: "file" and "url" exclude each other; keep one'),
    "headers": ("name: test", "name: test\nowners: {file: a, headers: {Authorization: canary}}", 'owners.headers: belongs to "url"; remove the key'),
    "http": ("name: test", 'name: test\nowners: {url: "http://hr.example.com/canary"}', "owners.url: begins with http://, which is for loopback"),
    "header": ("name: test", 'name: test\nowners: {url: "https://hr.example.com/canary", headers: {"a b": x}}', "is not the name of an HTTP header"),
    "key": ("name: test", "name: test\nowners: {flie: a}", 'owners.flie: unknown key; did you mean "file"?'),
    "refresh": ("name: test", "name: test\nowners: {file: a, refresh: 0s}", "owners.refresh: must be longer than 0s"),
    "sink": ("name: test", "name: test\nowners: {file: a, sink: opps}", 'owners.sink: unknown sink "opps"; did you mean "ops"?'),
    "sink_type": ("name: test", "name: test\nowners: {file: a, sink: backend}", "owners.sink: owners are reached in Slack, and this sink is not of type slack"),
    "fallback": ("name: test", "name: test\nowners: {file: a, sink: ops, fallback: opps}", 'owners.fallback: unknown sink "opps"; did you mean "ops"?'),
    "fallback_owner": ("name: test", "name: test\nowners: {file: a, sink: ops, fallback: owner}", "owners.fallback: is where things go that nobody owns; name a sink"),
    "fallback_channel": ("name: test", 'name: test\nowners: {file: a, sink: ops, fallback: "hook#x"}', 'owners.fallback: "#" chooses a Slack channel, which needs a Slack sink with a token'),
    "sink_called_owner": ("  log:\n", "  owner:\n", 'sinks.owner: "owner" is a target of its own; give the sink another name'),
    "mention": (RULE, RULE + "    mention: [here, everyone]\n", "rules[0].mention[1]: mentions nobody; write owner, here, channel, or the id of a member"),
    "mention_name": (RULE, RULE + '    mention: "@sam"\n', "rules[0].mention: mentions nobody"),
    "mention_markup": (RULE, RULE + '    mention: "U0123456789> <!channel"\n', "rules[0].mention: mentions nobody"),
    "mentions": (RULE, RULE + f"    mention: [{', '.join(f'U000000000{n}' for n in range(10))}, here]\n", "rules[0].mention: may hold at most 10"),
    "digest": (RULE, RULE + "digests: [{name: daily, at: daily 09:00, timezone: UTC, notify: [owner]}]\n", "digests[0].notify[0]: no digest has an owner; name a sink"),
    "digest_channel": (RULE, RULE + "digests: [{name: daily, at: daily 09:00, timezone: UTC, notify: 'owner#x'}]\n", "digests[0].notify: no digest has an owner; name a sink"),
    "reports": (RULE, RULE + "self_reports: [owner]\n", "self_reports[0]: no report has an owner; name a sink"),
}
OWNERS_BAD = {
    "channel": ("notify: [owner]", 'notify: ["owner#dental"]', ':23: rules[0].notify[0]: "owner" takes no channel'),
    "twice": ("notify: [owner]", "notify: [owner, owner]", "names this sink twice"),
    "which_sink": (", sink: ops", "", "owners.sink: required: the Slack sink that reaches owners; there are 2"),
    "hook": ("sink: ops", "sink: hook", "owners.sink: owners are reached in channels of their own; that needs a Slack sink with a token"),
}
# fmt: on


@pytest.mark.parametrize(("old", "new", "told"), BAD.values(), ids=BAD)
def test_tells_what_is_wrong_and_where(tmp_path, old, new, told):
    assert_told(tmp_path, old, new, told)


@pytest.mark.parametrize(("old", "new", "told"), OWNERS_BAD.values(), ids=OWNERS_BAD)
def test_tells_what_is_wrong_with_a_rule_that_notifies_the_owner(tmp_path, old, new, told):
    good = GOOD.replace("name: test\n", FILE, 1).replace(RULE, OWNED)
    load_text(tmp_path, good)
    assert old in good
    assert_told(tmp_path, GOOD, good.replace(old, new), told)


def test_owners_without_a_rule_that_reaches_them_need_no_sink(tmp_path):
    config = load_text(tmp_path, GOOD.replace("name: test\n", "name: test\nowners: {file: a}\n", 1))
    assert config.owners is not None
    assert config.owners.sink is None


def test_a_person_may_be_a_target(tmp_path):
    config = load_text(
        tmp_path, GOOD.replace("[backend]\n", '["ops#Sam@Example.com", backend]\n    mention: S0123456789\n')
    )
    [rule] = config.rules
    assert rule.notify == (Target("ops", "sam@example.com"), Target("backend"))
    assert rule.mention == ("S0123456789",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((FILE, "name: test\nowners: {file: a}\n"), 'owners: no rule has "owner" in "notify" or "mention"'),
        ((FILE, "name: test\nowners: {file: a, refresh: 1h}\n"), 'owners.refresh: is for "url"'),
        ((RULE, RULE + "    mention: here\n"), 'rules[0] "first" has "mention", which is for Slack'),
    ],
)
def test_what_is_surely_not_meant_is_named(tmp_path, change, told):
    old, new = change
    text = GOOD.replace("name: test\n", FILE, 1)
    assert any(told in line for line in warnings(load_text(tmp_path, text.replace(old, new, 1))))


def test_owners_that_rules_reach_and_mention_are_no_mistake(tmp_path):
    text = GOOD.replace("name: test\n", FILE, 1).replace(
        RULE, "    when: {}\n    notify: [owner, backend, log, hook]\n    mention: owner\n"
    )
    assert [line for line in warnings(load_text(tmp_path, text)) if "self_reports" not in line] == []


def test_a_rule_whose_events_the_owner_has_from_an_earlier_one_is_named(tmp_path):
    text = GOOD.replace("name: test\n", FILE, 1).replace(RULE, OWNED)
    second = "  - name: second\n    when: {to: x}\n    notify: [owner]\n"
    assert any(
        'rules[1] "second" never reaches' in line for line in warnings(load_text(tmp_path, text + second))
    )


def test_the_table_of_the_example_can_be_read():
    owners = check_file(load(ROOT / "config/examples/owners.yaml", ENV))
    assert owners is not None
    assert len(owners) == 4
    assert (ROOT / "config/examples/owners.csv").read_text().partition("\nemployer")[2] in (
        ROOT / "docs/configuration.md"
    ).read_text()
