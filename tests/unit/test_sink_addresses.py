"""Which addresses a sink may connect to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.sinks.addresses import is_forbidden

FORBIDDEN = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "reserved",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.127.255.255": "carrier-grade NAT",
    "100.100.100.200": "cloud metadata",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.0.1": "link-local",
    "169.254.169.254": "cloud metadata",
    "169.254.170.2": "cloud metadata",
    "168.63.129.16": "cloud metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "reserved",
    "192.0.0.192": "cloud metadata",
    "192.0.2.1": "documentation",
    "192.88.99.1": "reserved",
    "192.168.0.1": "private",
    "198.18.0.1": "reserved",
    "198.19.255.255": "reserved",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "reserved",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.0.0.1": "private",
    "::ffff:a9fe:a9fe": "cloud metadata",
    "::ffff:0:127.0.0.1": "reserved",
    "::127.0.0.1": "loopback",
    "::10.1.2.3": "private",
    "::8.8.8.8": "reserved",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::169.254.169.254": "cloud metadata",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b:1::8.8.8.8": "reserved",
    "100::1": "reserved",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:10::1": "reserved",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "2607:f8b0::5efe:10.0.0.1": "private",
    "2607:f8b0::200:5efe:127.0.0.1": "loopback",
    "4000::1": "reserved",
    "fc00::1": "unique local",
    "fd00:ec2::254": "cloud metadata",
    "fd20:ce::254": "cloud metadata",
    "fdff::1": "unique local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "febf::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "nonsense": "unreadable",
    "127.1": "unreadable",
}
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2001:200::1",
    "2607:f8b0::5efe:8.8.8.8",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize(("address", "reason"), FORBIDDEN.items())
def test_names_the_class_of_a_forbidden_address(address, reason):
    assert is_forbidden(address) == reason


@pytest.mark.parametrize("address", ALLOWED)
def test_lets_public_addresses_through_up_to_the_edges_of_the_forbidden_networks(address):
    assert is_forbidden(address) is None


@pytest.mark.parametrize(("address", "reason"), FORBIDDEN.items())
def test_allow_private_lets_through_loopback_and_private_networks_only(address, reason):
    is_private = reason in {"loopback", "private", "carrier-grade NAT", "unique local"}
    assert is_forbidden(address, allow_private=True) == (None if is_private else reason)


@given(st.integers(0, 2**32 - 1))
def test_mapped_and_translated_addresses_are_judged_as_the_ipv4_host_they_lead_to(number):
    plain = is_forbidden(IPv4Address(number))
    assert is_forbidden(IPv6Address((0xFFFF << 32) | number)) == plain
    assert is_forbidden(IPv6Address((0x64FF9B << 96) | number)) == plain


@given(st.integers(0, 2**128 - 1))
def test_no_address_that_the_standard_library_calls_local_passes(number):
    address = IPv6Address(number)
    if not address.is_global:
        assert is_forbidden(address) is not None


@given(st.integers(0, 2**32 - 1))
def test_no_ipv4_address_that_the_standard_library_calls_local_passes(number):
    if not IPv4Address(number).is_global:
        assert is_forbidden(IPv4Address(number)) is not None
