"""Tokens in a configuration: one of another kind is told by how it begins, and never shown."""

from __future__ import annotations

import pytest

from tests.unit.test_config import GOOD, assert_told, load_text, problems_of

OTHERS = {
    "https://hooks.slack.com/services/T0/B0/canary": 'is a URL; that of an incoming webhook belongs to "webhook_url"',
    "xapp-1-canary": 'begins with "xapp-" and so is an app-level token; the Bot User OAuth Token begins with "xoxb-"',
    "xoxp-canary": 'begins with "xoxp-" and so is a user\'s token',
    "xoxe.xoxp-1-canary": 'begins with "xoxe.xoxp-" and so is a user\'s token',
    "xoxe-1-canary": 'begins with "xoxe-" and so is a refresh token',
    '"xoxb-canary"': "is in quotes, which are no part of it",
    "'xoxb-canary": "is in quotes",
}


@pytest.mark.parametrize(("token", "told"), OTHERS.items())
def test_what_is_no_bots_token_is_told_without_being_shown(tmp_path, token, told):
    [problem] = problems_of(tmp_path, GOOD.replace("xoxb-canary", "${TOKEN}"), {"TOKEN": token})
    assert f"sinks.ops.token: {told}" in problem
    assert "the value comes from TOKEN" in problem


def test_a_key_of_the_source_in_quotes_is_told_too(tmp_path):
    assert_told(tmp_path, "canary-key", "'\"canary-key\"'", "source.api_key: is in quotes")


@pytest.mark.parametrize("token", ["xoxb-1", "xoxe.xoxb-1-abc", "xoxa-2-abc", "of-a-kind-to-come"])
def test_a_token_of_a_kind_that_is_not_known_is_taken(tmp_path, token):
    config = load_text(tmp_path, GOOD.replace("xoxb-canary", token))
    assert config.sinks["ops"].token.get_secret_value() == token
