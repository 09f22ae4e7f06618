"""Which IP addresses a sink must never connect to. Pure.

An operator's webhook URL is trusted to name a receiver, not to open the worker's own network: what a name
resolves to is decided by others, and may change between two look-ups. So ``session`` asks this module about
every address at the moment of connecting.

IPv6 is judged by what may be reached, not by what may not: only global unicast (2000::/3), less the ranges
named here, and IPv4 in its two IPv6 spellings that lead to the IPv4 host itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from notifier.config.connections import Network

#: What an operator's own receiver may have, where the sink's configuration says so.
PRIVATE = frozenset({"loopback", "private", "carrier-grade NAT", "unique local"})

_Table = Sequence[tuple[str, tuple[Network, ...]]]


def _table(*rows: tuple[str, str]) -> _Table:
    return [(name, tuple(ip_network(network) for network in networks.split())) for name, networks in rows]


# IANA's special-purpose registries, and the metadata services of clouds. The first row that matches names it.
_V4 = _table(
    ("unspecified", "0.0.0.0/32"),
    (
        "cloud metadata",  # AWS, GCP, Azure and others; ECS and EKS; Azure's agent; Alibaba; Oracle
        (
            "169.254.169.254/32 169.254.170.2/32 169.254.170.23/32 168.63.129.16/32 "
            "100.100.100.200/32 192.0.0.192/32"
        ),
    ),
    ("broadcast", "255.255.255.255/32"),
    ("loopback", "127.0.0.0/8"),
    ("private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),
    ("carrier-grade NAT", "100.64.0.0/10"),
    ("link-local", "169.254.0.0/16"),
    ("documentation", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24"),
    ("multicast", "224.0.0.0/4"),
    ("reserved", "0.0.0.0/8 192.0.0.0/24 192.88.99.0/24 198.18.0.0/15 240.0.0.0/4"),
)
_V6 = _table(
    ("unspecified", "::/128"),
    ("loopback", "::1/128"),
    ("cloud metadata", "fd00:ec2::254/128 fd00:ec2::23/128 fd20:ce::254/128"),
    ("link-local", "fe80::/10"),
    ("site-local", "fec0::/10"),
    ("unique local", "fc00::/7"),
    ("multicast", "ff00::/8"),
    ("6to4", "2002::/16"),
    ("Teredo", "2001::/32"),
    ("documentation", "2001:db8::/32 3fff::/20"),
    ("reserved", "2001::/23"),
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_V4_COMPATIBLE = IPv6Network("::/96")
_NAT64 = IPv6Network("64:ff9b::/96")  # its local-use sibling 64:ff9b:1::/48 is no global unicast
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def is_forbidden(
    address: str | IPv4Address | IPv6Address, *, allow_private: bool | Sequence[Network] = False
) -> str | None:
    """Why nothing may connect to this address, in a word or two; None where it may.

    ``allow_private`` lets through loopback and private networks, or those of them that it names, and nothing
    else: never link-local or metadata addresses.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return "unreadable"
    reason = _why_v4(ip) if isinstance(ip, IPv4Address) else _why_v6(ip)
    if reason not in PRIVATE or allow_private is False:
        return reason
    return None if allow_private is True or _is_in(ip, allow_private) else reason


def _is_in(ip: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    """Whether one of the networks has the address, or the IPv4 address that it leads to."""
    plain = ip if isinstance(ip, IPv4Address) else IPv6Address(int(ip))
    embedded = _embedded_v4(plain) if isinstance(plain, IPv6Address) else None
    return any(one is not None and one in network for one in (plain, embedded) for network in networks)


def _why_v4(ip: IPv4Address) -> str | None:
    return _named(ip, _V4)


def _why_v6(ip: IPv6Address) -> str | None:
    plain = IPv6Address(int(ip))  # without a zone (%eth0), which matches no network
    named = _named(plain, _V6)
    if named is not None:
        return named
    embedded = _embedded_v4(plain)
    if embedded is not None:
        reason = _why_v4(embedded)
        if reason is not None or plain.ipv4_mapped is not None or plain in _NAT64:
            return reason
    return None if plain in _GLOBAL_UNICAST else "reserved"


def _embedded_v4(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 host that a mapped, compatible, translated or ISATAP address leads to."""
    is_isatap = (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP
    if ip.ipv4_mapped is not None or ip in _V4_COMPATIBLE or ip in _NAT64 or is_isatap:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


def _named(ip: IPv4Address | IPv6Address, table: _Table) -> str | None:
    return next((name for name, networks in table if any(ip in network for network in networks)), None)
