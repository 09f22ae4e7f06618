"""Answers that are wrong as a whole: bodies, statuses, encodings; and what is to become of each.

``make`` gets the honest body of the request and makes the answer of it, so that one catalogue serves for pages,
single connections and names. Expected is what docs/guarantees.md says, for each place at which it is given.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tests.proof.hostile_source import KEY, Reply

ELSEWHERE = "https://canary.test/connections?cursor=9"
_CUTS = 16
_HTML = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class Said(msgspec.Struct, frozen=True):
    """An answer. As a page it is ``is_page``, else the snapshot is Partial with ``reason`` (a pattern).

    In answer to one connection it ``confirms`` that this is gone, or still there (``is_page``), or says nothing.
    """

    make: Callable[[bytes], Reply]
    reason: str = ""
    is_page: bool = False
    confirms: bool = False
    is_heavy: bool = False


def _instead(
    body: bytes, reason: str, *, type_: str = "application/json", shown: bytes | None = None
) -> Said:
    return Said(lambda _honest: Reply(body, headers=(("content-type", type_),), shown=shown), reason)


def _around(before: bytes, after: bytes, reason: str = "no valid JSON") -> Said:
    return Said(lambda honest: Reply(before + honest + after, shown=b""), reason)


def _status(status: int, reason: str, body: bytes = b"", *, confirms: bool = False, **headers: str) -> Said:
    given = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Said(lambda _honest: Reply(body, status, given), reason, confirms=confirms)


def _well(*headers: tuple[str, str], body: Callable[[bytes], bytes] = bytes) -> Said:
    """An odd answer that says what the honest one says."""
    return Said(lambda honest: Reply(body(honest), headers=headers, shown=honest), is_page=True)


def _encoded(encoding: str, body: Callable[[bytes], bytes], reason: str, *, is_heavy: bool = False) -> Said:
    headers = (("content-encoding", encoding),)
    return Said(lambda honest: Reply(body(honest), headers=headers, shown=b""), reason, is_heavy=is_heavy)


def bomb(megabytes: int) -> bytes:
    """A gzip stream of spaces, which JSON allows: one packed megabyte, many times, without an end."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    megabyte = packer.compress(b" " * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + megabyte * megabytes


def _huge(
    start: bytes, unit: bytes, millions: int, end: bytes, reason: str, *, is_heavy: bool = True
) -> Said:
    pieces = (start, *[unit * 10_000] * (100 * millions), end)
    return Said(lambda _honest: Reply(shown=b"", pieces=pieces), reason, is_heavy=is_heavy)


_SHAPE, _SYNTAX, _DEEP = "another shape", "no valid JSON, or cut short", "nested too deeply"
_MASSES = "more than [0-9,]+ values"

BODIES: dict[str, Said] = {
    "nothing": _instead(b"", _SYNTAX),
    "whitespace": _instead(b" \r\n\t " * 9, _SYNTAX),
    "an empty list": _instead(b"[]", _SHAPE),
    "an empty object": _instead(b"{}", _SHAPE),
    "null": _instead(b"null", _SHAPE),
    "true": _instead(b"true", _SHAPE),
    "a text": _instead(b'"conn_02"', _SHAPE),
    "a number": _instead(b"7", _SHAPE),
    "minus nothing": _instead(b"-0", _SHAPE),
    "NaN": _instead(b"NaN", _SYNTAX),
    "1e400": _instead(b"1e400", f"{_SHAPE}|{_SYNTAX}"),
    "a lone surrogate": _instead(b'"\\ud800"', f"{_SHAPE}|{_SYNTAX}"),
    "zeros": _instead(bytes(4096), _SYNTAX),
    "a byte order mark": _instead(b"\xef\xbb\xbf", _SYNTAX),
    "a byte order mark before it": _around(b"\xef\xbb\xbf", b""),
    "UTF-16": Said(lambda honest: Reply(honest.decode().encode("utf-16"), shown=b""), _SYNTAX),
    "UTF-32": Said(lambda honest: Reply(honest.decode().encode("utf-32"), shown=b""), _SYNTAX),
    "base64": _instead(b"eyJuZXh0IjogbnVsbH0=", _SYNTAX),
    "a gateway's page": _instead(_HTML, "an HTML page", type_="text/html"),
    "a gateway's page that calls itself JSON": _instead(_HTML, "an HTML page"),
    "a page to log in": _instead(b"\n\n  <html><form action='/login'>", "an HTML page", type_="text/html"),
    "XML": _instead(b"<?xml version='1.0'?><results/>", "an HTML page", type_="text/xml"),
    "plain text": _instead(b"OK", _SYNTAX, type_="text/plain"),
    "YAML": _instead(b"next: null\nresults: []\n", _SYNTAX),
    "an error's body": _instead(b'{"type": "throttled", "message": "slow down"}', _SHAPE),
    "another shape": _instead(b'{"data": [], "has_more": false}', _SHAPE),
    "rubbish behind it": _around(b"", b" and more"),
    "a second document behind it": _around(b"", b'\n{"next": null, "previous": null, "results": []}'),
    "twice the same": Said(lambda honest: Reply(honest + b"\n" + honest, shown=b""), _SYNTAX),
    "zeros behind it": _around(b"", bytes(3)),
    "a call around it": _around(b"callback(", b");"),
    "a guard before it": _around(b")]}',\n", b""),
    "a comment before it": _around(b"/* page */", b""),
    "in a list": _around(b"[", b"]", _SHAPE),
    "in a text": Said(lambda honest: Reply(msgspec.json.encode(honest.decode()), shown=b""), _SHAPE),
    "single quotes": Said(lambda honest: Reply(honest.replace(b'"', b"'"), shown=b""), _SYNTAX),
    "Python's words": Said(lambda honest: Reply(repr(json.loads(honest)).encode(), shown=b""), _SYNTAX),
    "100,000 lists": _instead(b"[" * 100_000, f"{_SHAPE}|{_DEEP}", shown=b""),
    "100,000 objects": _instead(b'{"a":' * 100_000, f"{_SYNTAX}|{_DEEP}", shown=b""),
    "100,000 objects that end": _instead(
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000, f"{_SHAPE}|{_DEEP}", shown=b""
    ),
    "34 MB of white space": _huge(b"", b" ", 34, b"", "longer than"),
    "a text of 20 MB": _huge(b'"', b"x", 20, b'"', _SHAPE),
    "30 MB of nulls": _huge(b'{"x": [', b"null,", 6, b"null]}", _MASSES),
    "5 MB of no values": _huge(b'{"next": null, "results": [', b"NaN, ", 1, b"NaN]}", f"{_MASSES}|{_SYNTAX}"),
    "a text that does not end, full of quotes": _instead(
        b'{"next": null, "results": ["' + b'\\"' * 1_000_000, _SYNTAX, shown=b""
    ),
    "4 MB of brackets": _huge(b"{", b"[{", 2, b"", f"{_SYNTAX}|{_DEEP}", is_heavy=False),
    "3 MB of empty texts": _huge(b'{"next": NaN, "x": [', b'"" ', 1, b"]}", _SYNTAX, is_heavy=False),
}


def _cuts() -> Iterator[tuple[str, Said]]:
    for n in range(1, _CUTS):
        yield (
            f"cut after {n} of {_CUTS} parts",
            Said(lambda honest, n=n: Reply(honest[: len(honest) * n // _CUTS], shown=b""), _SYNTAX),
        )
    for left in (1, 2, 3):
        yield (
            f"cut {left} bytes before its end",
            Said(lambda honest, left=left: Reply(honest[:-left], shown=b""), _SYNTAX),
        )


CUTS = dict(_cuts())

_JSON_404 = b'{"type": "not_found", "message": "no such connection"}'
_REDIRECT = "redirect"

STATUSES: dict[str, Said] = {
    **{
        f"{code} with the page": Said(lambda honest, code=code: Reply(honest, code), f"answered {code}")
        for code in (201, 202, 203, 206, 226)
    },
    **{f"{code} with nothing": _status(code, f"answered {code}") for code in (204, 205, 207)},
    **{
        f"{code} to elsewhere": _status(code, _REDIRECT, location=ELSEWHERE)
        for code in (300, 301, 302, 303, 305, 307, 308)
    },
    "302 without a place": _status(302, _REDIRECT),
    "302 to itself": _status(302, _REDIRECT, location="https://clasp.test/connections"),
    "304 though nothing was asked": _status(304, "Not Modified", etag='"a"'),
    **{
        f"{code} with words": _status(code, f"answered {code}", b'{"type": "x", "message": "no"}')
        for code in (400, 402, 405, 406, 407, 409, 411, 413, 414, 415, 416, 418, 421, 422, 423, 426, 428, 431, 451, 499)
    },
    "400 with input errors": _status(
        400, "validation_error; cursor: bad", b'{"type": "validation_error", "input_errors": [{"field": "cursor", "message": "bad"}, 7, null]}'
    ),
    "401": _status(401, "source.api_key", b'{"type": "authentication_error", "message": "no"}'),
    "401 that says our key": _status(401, "source.api_key", b'{"message": "bad key %s"}' % KEY.encode()),
    "403": _status(403, "source.api_key", b"<html>forbidden</html>", content_type="text/html"),
    "403 with nothing": _status(403, "source.api_key"),
    "404": _status(404, "answered 404", _JSON_404, confirms=True),
    "404 of another framework": _status(404, "Not found", b'{"detail": "Not found."}', confirms=True),
    "404 with nothing": _status(404, "answered 404", confirms=True),
    "404 of a bad cursor": _status(404, "Invalid cursor", b'{"detail": "Invalid cursor"}', confirms=True),
    "404 of a gateway": _status(404, "an HTML page", _HTML, content_type="text/html"),
    "404 of a gateway that calls itself JSON": _status(404, "an HTML page", _HTML, content_type="application/json"),
    "404 of a gateway that says JSON": _status(404, "answered 404", b"{}", content_type="text/html; charset=utf-8"),
    "404 of a gateway in plain words": _status(404, "default backend", b"default backend - 404", content_type="text/plain"),
    "404 of a gateway in UTF-16": _status(404, "answered 404", "<html>".encode("utf-16")),
    "404 with a list": _status(404, "JSON that is no object", b"[]"),
    "404 longer than can be read": _status(404, "answered 404", b" " * 70_000),
    "410": _status(410, "answered 410", b'{"message": "gone"}', confirms=True),
    "410 of a gateway": _status(410, "answered 410", _HTML, content_type="text/html"),
    **{f"{code}": _status(code, f"answered {code}", b'{"type": "x"}') for code in (408, 425, 500, 501, 502, 503, 504, 507, 521, 599, 999)},
    "500 with a page": _status(500, "an HTML page", _HTML, content_type="text/html"),
    "502 of a gateway": _status(502, "an HTML page", _HTML, content_type="text/html"),
    "500 of 100 MB": Said(lambda _honest: Reply(status=500, pieces=(b"x" * 100_000,) * 1000), "answered 500", is_heavy=True),
    "500 that says our key at the brim": _status(500, "answered 500", b" " * 1190 + KEY.encode() * 9),
    "503 for a while": _status(503, "wait 7 s", retry_after="7"),
    "429": _status(429, "throttled: slow", b'{"type": "throttled", "message": "slow"}'),
    **{
        f"429 with Retry-After: {value}": _status(429, reason, retry_after=value)
        for value, reason in (
            ("2", "wait 2 s"),
            ("0", "answered 429"),
            ("-5", "answered 429"),
            ("1.5", "answered 429"),
            ("soon", "answered 429"),
            ("", "answered 429"),
            ("61", "wait 61 s"),
            ("999999999", "wait 999,999,999 s"),
            ("9" * 40, "answered 429"),
            ("Mon, 23 Nov 2020 22:00:09 GMT", "answered 429"),
            ("Fri, 31 Dec 9999 23:59:59 GMT", "wait"),
            ("Fri, 31 Dec 9999 23:59:59 -1200", "answered 429|wait"),
            ("Mon, 99 Nov 2026 22:00:09 GMT", "answered 429"),
        )
    },
}  # fmt: skip


def _of_gzip(level: int = 6) -> Callable[[bytes], bytes]:
    return lambda honest: gzip.compress(honest, level)


def _two_members(honest: bytes) -> bytes:
    return gzip.compress(honest[:40]) + gzip.compress(honest[40:])


def _wrong_sum(honest: bytes) -> bytes:
    packed = gzip.compress(honest)
    return packed[:-8] + bytes(4) + packed[-4:]


_NOT_ASKED, _BROKEN = "not asked for", "broken gzip|truncated gzip"

ENCODINGS: dict[str, Said] = {
    "gzip": _well(("content-encoding", "gzip"), body=_of_gzip()),
    "GZIP in capitals, unpressed": _well(("content-encoding", " GZIP "), body=_of_gzip(0)),
    "x-gzip": _well(("content-encoding", "x-gzip"), body=_of_gzip()),
    "gzip in two members": _well(("content-encoding", "gzip"), body=_two_members),
    "identity": _well(("content-encoding", "identity")),
    "gzip that is plain": _encoded("gzip", bytes, _BROKEN),
    "gzip of nothing": _encoded("gzip", lambda _: gzip.compress(b""), _SYNTAX),
    "gzip without a byte": _encoded("gzip", lambda _: b"", _SYNTAX),
    "gzip cut in its head": _encoded("gzip", lambda honest: gzip.compress(honest)[:5], _BROKEN),
    "gzip cut in its middle": _encoded("gzip", lambda honest: gzip.compress(honest)[:60], _BROKEN),
    "gzip without its sum": _encoded("gzip", lambda honest: gzip.compress(honest)[:-8], _BROKEN),
    "gzip with a wrong sum": _encoded("gzip", _wrong_sum, _BROKEN),
    "gzip with rubbish behind": _encoded("gzip", lambda honest: gzip.compress(honest) + b"rubbish", _BROKEN),
    "gzip in gzip": _encoded("gzip", lambda honest: gzip.compress(gzip.compress(honest)), _SYNTAX),
    "gzip, gzip": _encoded("gzip, gzip", lambda honest: gzip.compress(gzip.compress(honest)), _NOT_ASKED),
    "deflate": _encoded("deflate", zlib.compress, _NOT_ASKED),
    "brotli": _encoded("br", bytes, _NOT_ASKED),
    "zstd": _encoded("zstd", bytes, _NOT_ASKED),
    "an encoding nobody knows": _encoded("rot13; q=1", bytes, _NOT_ASKED),
    "a bomb of 300 MB": _encoded("gzip", lambda _: bomb(300), "longer than", is_heavy=True),
    "a bomb in a bomb": _encoded("gzip", lambda _: gzip.compress(bomb(300), 1), _SYNTAX, is_heavy=True),
    "packed though nothing says so": Said(lambda honest: Reply(gzip.compress(honest), shown=b""), _SYNTAX),
}

HEADERS: dict[str, Said] = {
    "calls itself HTML": _well(("content-type", "text/html")),
    "calls itself UTF-16": _well(("content-type", "application/json; charset=utf-16")),
    "calls itself a picture": _well(("content-type", "image/png")),
    "two types": _well(("content-type", "text/html"), ("content-type", "application/json")),
    "no type": _well(),
    "a cookie": _well(("set-cookie", "session=evil; Domain=clasp.test; Path=/")),
    "a link to elsewhere": _well(("link", f'<{ELSEWHERE}>; rel="next"')),
    "a place elsewhere": _well(("location", ELSEWHERE), ("refresh", f"0; url={ELSEWHERE}")),
    "an ETag": _well(("etag", 'W/"a"'), ("last-modified", "Mon, 23 Nov 2026 22:00:00 GMT")),
    "Retry-After beside a page": _well(("retry-after", "3600")),
    "other white space": _well(body=lambda honest: honest.replace(b", ", b" ,\r\n\t ")),
    "a header that is no ASCII": _well(("x-odd", "\u00e9\u4e2d")),
}

ANSWERS: dict[str, Said] = {**BODIES, **CUTS, **STATUSES, **ENCODINGS, **HEADERS}


def _named(**fields: Any) -> Callable[[bytes], Reply]:
    return lambda honest: Reply(json.dumps({**json.loads(honest), **fields}).encode())


#: Answers for a carrier or an employer that are fine but for a field, and the name that is told then.
NAMES: dict[str, tuple[Callable[[bytes], Reply], str | None]] = {
    "of somebody else": (_named(id="other"), None),
    "of nobody": (_named(id=None), None),
    "of a number": (_named(id=7), None),
    "no names": (_named(legal_name=None), None),
    "numbers for names": (_named(legal_name=7, trade_name=[], external_id={}), None),
    "empty names": (_named(legal_name="", trade_name=" \t"), None),
    "a name of one line too many": (_named(trade_name="A\r\nB"), "A B"),
    "a name that goes backwards": (_named(trade_name="A\u202eB"), "A B"),
    "a name with zeros": (_named(trade_name="A\x00\x1b[31mB"), "A [31mB"),
    "a lone surrogate for a name": (_named(legal_name="\ud800"), None),
    "a name of 1 MB": (_named(trade_name="x" * 1_000_000), "x" * 254 + "\u2026"),
    "fields without end": (_named(**{f"field_{n}": n for n in range(10_000)}, trade_name="A"), "A"),
}
