"""How a sink reaches its receiver, in a configuration: what is wrong is told where it stands."""

from __future__ import annotations

import pytest

from tests.unit.test_config import assert_told

# (what is replaced in GOOD, by what, what is said)
# fmt: off
BAD = {
    "proxy_words": ("secrets: [", "proxy: nowhere\n    secrets: [", "sinks.backend.proxy: is not the address of a proxy"),
    "proxy_path": ("secrets: [", "proxy: http://p:1/x\n    secrets: [", "holds more than the scheme, host and port of a proxy"),
    "certificate_alone": ("secrets: [", "tls: {certificate: c.pem}\n    secrets: [", 'sinks.backend.tls.certificate: needs "key" beside it'),
    "key_alone": ("secrets: [", "tls: {key: c.key}\n    secrets: [", 'sinks.backend.tls.key: needs "certificate" beside it'),
    "no_verification": ("secrets: [", "tls: {verify: false}\n    secrets: [", "sinks.backend.tls.verify: unknown key"),
    "network_words": ("secrets: [", "allow_private_addresses: [10.0.0.1/8]\n    secrets: [", 'holds what is no network such as "10.20.0.0/16"'),
    "network_none": ("secrets: [", "allow_private_addresses: []\n    secrets: [", "is an empty list; write false, or name networks"),
    "two_authorizations": ("secrets: [", "headers: {authorization: x}\n    basic_auth: {username: a, password: b}\n    secrets: [", '"basic_auth" sets this header'),
    "user_with_colon": ("secrets: [", 'basic_auth: {username: "a:b", password: c}\n    secrets: [', 'holds ":"'),
}
# fmt: on


@pytest.mark.parametrize(("old", "new", "told"), BAD.values(), ids=BAD)
def test_tells_what_is_wrong_and_where(tmp_path, old, new, told):
    assert_told(tmp_path, old, new, told)
