"""The table of owners: which row has what, and what is wrong with a table."""

from __future__ import annotations

import pytest

from notifier.core.owners import BadTable, Owner, parse

TABLE = """\
# who looks after what
Owner,Employer,CARRIER,team,channel

anybody@example.com,,,Everybody,
guardian@example.com,,Guardian Life,,
aetna@example.com,,carr_aEtna,,
acme@example.com,er_1,,"Benefits, East",
beta@example.com,48213,,,#beta
U0123456789,er_1,guardian life,,
SAM@Example.com,48213,carr_aEtna,,
"""


@pytest.mark.parametrize(
    ("employer", "external_id", "carrier", "carrier_name", "owner"),
    [
        ("er_9", None, None, None, "anybody@example.com"),
        ("er_9", None, "carr_x", "GUARDIAN LIFE", "guardian@example.com"),
        ("er_9", None, "carr_aEtna", None, "aetna@example.com"),
        ("er_9", None, "carr_aetna", None, "anybody@example.com"),  # an id is as it is
        ("er_1", None, "carr_x", None, "acme@example.com"),
        ("er_1", None, None, None, "acme@example.com"),
        ("er_1", None, "carr_x", "Guardian Life", "U0123456789"),
        ("er_2", "48213", "carr_x", "Guardian Life", "beta@example.com"),  # the employer before the carrier
        ("er_2", "48213", "carr_aEtna", None, "sam@example.com"),
        ("er_2", None, "carr_x", None, "anybody@example.com"),  # its external id is not known
        (None, None, None, None, "anybody@example.com"),
        (["er_1"], {"a": 1}, 7, True, "anybody@example.com"),
        ("", "", "", "", "anybody@example.com"),
    ],
)
def test_the_row_that_says_most_has_it(employer, external_id, carrier, carrier_name, owner):
    found = parse(TABLE).of(employer, external_id, carrier, carrier_name)
    assert found is not None
    assert found.owner == owner


def test_a_row_is_an_owner_with_team_and_channel():
    table = parse(TABLE)
    assert len(table) == 7
    assert table.of("er_1", None, None, None) == Owner("acme@example.com", "Benefits, East", "")
    assert table.of(None, "48213", None, None) == Owner("beta@example.com", "", "#beta")


def test_what_no_row_names_nobody_owns():
    assert parse("owner,employer\nsam@example.com,er_1\n").of("er_2", None, "carr_1", None) is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_ends_of_lines_and_empty_rows_will_do(end):
    table = parse(
        end.join(["employer,owner", "er_1,a@example.com", ",", "", "  ", "#x,y,z", '"er_2",b@example.com'])
    )
    assert table.of("er_2", None, None, None) == Owner("b@example.com")


# fmt: off
BAD = {
    "empty": ("", 1, "is empty; the first line names the columns: employer, carrier, owner, team, channel"),
    "comments": ("# nothing\n\n", 1, "is empty"),
    "column": ("employer,onwer\n", 1, 'unknown column "onwer"; did you mean "owner"?'),
    "no_columns": ("er_1,,sam@example.com\ner_2,,x\n", 1, "names no column; the first line must: employer,carrier,owner,team,channel"),
    "semicolons": ("employer;owner\n", 1, "separates its cells otherwise than by commas"),
    "twice": ("owner,team,Owner\n", 1, "has the column owner twice"),
    "nobody": ("employer,team\n", 1, 'needs a column "owner" or "channel"'),
    "comment_column": ("channel,owner\n", 1, '"channel" cannot be the first column'),
    "cells": ("employer,owner\ner_1\n", 2, "has 1 cells; the first line has 2"),
    "quote": ('employer,owner\n"er_1,a@example.com\n', 2, "is not CSV"),
    "owner": ("employer,owner\n\n# x\ner_1,Sam Doe\n", 4, "owner: is neither an e-mail address nor the id of a Slack member"),
    "markup": ("employer,owner\ner_1,<!channel>\n", 2, "owner: is neither"),
    "channel": ("employer,channel\ner_1,#a b\n", 2, "channel: is not a channel"),
    "mail_channel": ("employer,channel\ner_1,sam@example.com\n", 2, "channel: is not a channel"),
    "neither": ("employer,owner,team\ner_1,,Benefits\n", 2, "names neither an owner nor a channel"),
    "same": ("employer,carrier,owner\ner_1,Guardian,a@example.com\ner_1,GUARDIAN,b@example.com\n", 3, "has the employer and carrier of line 2"),
    "control": ("employer,owner\ner_\x01,a@example.com\n", 2, "employer: holds a line break or another control character"),
    "long": (f"employer,owner\n{'e' * 201},a@example.com\n", 2, "employer: is longer than 200 characters"),
    "longest": (f"employer,owner\n{'e' * 200_000},a@example.com\n", 2, "is not CSV"),
}
# fmt: on


@pytest.mark.parametrize(("table", "line", "told"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_told_with_its_line(table, line, told):
    with pytest.raises(BadTable) as caught:
        parse(table)
    [(where, what)] = caught.value.problems
    assert where == line
    assert told in what


def test_every_bad_row_is_told():
    with pytest.raises(BadTable) as caught:
        parse("employer,owner\ner_1,x\ner_2,a@example.com\ner_3,y\n")
    assert [line for line, _ in caught.value.problems] == [2, 4]
