"""Checks on addresses that a configuration names. Messages never quote an address: it may hold a token.

What a host name resolves to is checked when a connection is made, by the sinks; here only what is written
can be judged. ``http://`` is for a machine talking to itself.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from string import Formatter
from urllib.parse import SplitResult, urlsplit, urlunsplit

LINK_FIELDS = ("external_id", "id")
_LONGEST_HOST = 254  # characters, with a dot at the end
_LONGEST_LINK = 2000  # characters: browsers and Slack take little more
_MOST_FIELDS = 10
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_OWN_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?", re.ASCII | re.IGNORECASE)
_HOST = re.compile(rf"(?![^.]*_){_OWN_HOST.pattern}", re.ASCII | re.IGNORECASE)  # no "_" in the first label
DATABASE = re.compile(r"[0-9]{1,6}", re.ASCII)
_UNREADABLE = "is not a URL: the host or port cannot be read"
_NUMERIC_END = re.compile(r"(^|\.)(0x[0-9a-f]*|[0-9]+)\.?$", re.ASCII | re.IGNORECASE)
_STORE_SCHEMES = ("redis", "rediss", "unix", "embedded")
_STORES_LATER = ("redis+sentinel", "redis+cluster")


def check_url(text: str, *, query: bool = True) -> SplitResult:
    """The parts of an ``https://`` URL (``http://`` on loopback). Raises ``ValueError``."""
    if re.search(r"[\x00-\x20\x7f\\]", text) or not text.isascii():
        raise ValueError("is not a URL: it holds a space, a backslash or a character outside ASCII")
    parts, host, port = _split(text)
    if parts.scheme not in {"https", "http"} or not host:
        raise ValueError("is not a URL that begins with https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password (before @); take it out")
    if "#" in text:
        raise ValueError("holds a fragment (after #); take it out")
    if "?" in text and not query:
        raise ValueError("holds a query (after ?); take it out")
    _check_host(host)
    if port == 0:
        raise ValueError("names port 0")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(
            "begins with http://, which is for loopback (127.0.0.1, localhost) only; use https://"
        )
    return parts


def check_proxy(text: str) -> None:
    """The address of a proxy, with a user and password in it or not. Raises ``ValueError``."""
    parts, host, port = _split(text)
    if parts.scheme not in {"http", "https"} or not host or re.search(r"[\x00-\x20\x7f\\]", text):
        raise ValueError("is not the address of a proxy, such as http://proxy.internal:3128")
    if parts.path not in {"", "/"} or parts.query or "#" in text or port == 0:
        raise ValueError("holds more than the scheme, host and port of a proxy, and a user and password")
    check_own_host(host)


def base_url(text: str) -> str:
    """The URL without a slash at its end, scheme and host in small letters: one account, one spelling."""
    parts = check_url(text, query=False)
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", ""))


def is_loopback(host: str) -> bool:
    """Whether the host as written can only be this machine."""
    address = _literal(host)
    return address.is_loopback if address is not None else host.lower().rstrip(".") == "localhost"


def is_private(host: str) -> bool:
    """Whether the host as written is one that the public internet does not reach."""
    address = _literal(host)
    if address is None:
        return is_loopback(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return not (mapped or address).is_global


def link_template(text: str) -> str:
    """A link whose ``{external_id}`` and ``{id}`` are filled with an employer's. Raises ``ValueError``."""
    try:
        fields = [part[1:] for part in Formatter().parse(text) if part[1] is not None]
    except ValueError:
        raise ValueError('has a "{" without "}"') from None
    if len(text) > _LONGEST_LINK or len(fields) > _MOST_FIELDS:
        raise ValueError(
            f"is longer than {_LONGEST_LINK} characters, or holds more than {_MOST_FIELDS} fields"
        )
    if any(name not in LINK_FIELDS or spec or conversion for name, spec, conversion in fields):
        raise ValueError("may hold {external_id} and {id} only")
    parts = check_url(re.sub(r"\{\w+\}", "x", text))
    if "{" in text[: len(parts.scheme) + len("://") + len(parts.netloc)]:
        raise ValueError("holds a field in its host; fields belong after it")
    return text


def store_url(text: str) -> str:
    """The address of a store. Raises ``ValueError``."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme in _STORES_LATER:
        raise ValueError(f"{scheme}:// is not available in this release; use redis:// or rediss://")
    if not colon or scheme not in _STORE_SCHEMES:
        raise ValueError("begins with none of redis://, rediss://, unix://, embedded:")
    if scheme == "embedded":
        if not rest.partition("?")[0]:
            raise ValueError("names no directory; write embedded:.notifier")
        return text
    parts, host, _ = _split(text)
    if not rest.startswith("//") or not (parts.path if scheme == "unix" else host):
        raise ValueError(f"names no {'socket' if scheme == 'unix' else 'host'} after {scheme}://")
    if scheme != "unix":
        check_own_host(host)
        if not DATABASE.fullmatch(parts.path.strip("/") or "0"):
            raise ValueError(
                "names a database that is no number of at most six digits; write redis://host:6379/0"
            )
    return text


def check_own_host(host: str) -> None:
    """A host within the operator's own network, whose name may hold ``_`` anywhere. Raises ``ValueError``."""
    _check_host(host, _OWN_HOST)


def _check_host(host: str, name: re.Pattern[str] = _HOST) -> None:
    if _literal(host) is not None:
        return
    if _NUMERIC_END.search(host):
        raise ValueError("names a host by a number that is no ordinary IP address")
    if len(host) > _LONGEST_HOST or not name.fullmatch(host):
        raise ValueError("names a host that is neither a name nor an IP address")


def _split(text: str) -> tuple[SplitResult, str, int | None]:
    """The parts of a URL, its host (empty where there is none) and its port. Raises ``ValueError``."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if parts.netloc.rpartition("@")[2].startswith("[") and _literal(host) is None:  # "[v1.a]"
        raise ValueError(_UNREADABLE)
    return parts, host, port


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
