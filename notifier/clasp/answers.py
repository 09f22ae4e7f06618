"""One HTTP response of the source -> an :class:`Answer`, or the error that its status stands for.

A hostile or broken server decides what is in here, so everything is bounded: the body after decompression
(piece by piece, so that a bomb is never unpacked whole), the text that reaches an error's message. An
error's message holds no control characters, no query string and never the key.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx
import msgspec

from notifier.errors import SourceError, SourceInvalid, SourceRefused, SourceUnavailable

MAX_BODY = 32 * 1024 * 1024  # bytes after decompression; a page of 100 connections has about 160 kB
MAX_ERROR_BODY = 64 * 1024
MAX_RETRY_AFTER_S = 60.0  # longer than that is the next poll's business
_PIECE = 64 * 1024
_MAX_TEXT = 300
_MAX_INPUT_ERRORS = 5
_GZIP = 16 + zlib.MAX_WBITS
_RETRIED = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


class Answer(msgspec.Struct, frozen=True):
    """A whole response. ``body`` is None where it was too long or broken, which only errors may be."""

    status: int
    content_type: str
    retry_after: str | None
    body: bytes | None

    @property
    def is_html(self) -> bool:
        """Whether a gateway's page came in place of Clasp's JSON."""
        start = (self.body or b"")[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
        return self.content_type.lower().startswith("text/html") or start.startswith(b"<")

    @property
    def is_clasps_refusal(self) -> bool:
        """Whether an error is Clasp's own, a JSON object or nothing at all, and no gateway's words."""
        if self.is_html or self.body is None:
            return False
        try:
            _object.decode(self.body or b"{}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        return True


class Transient(SourceUnavailable):
    """A failure that may be over in a moment; ``wait_s`` is what the source asked for."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


async def read_answer(response: httpx.Response) -> Answer:
    """Read ``response`` within bounds; a 200 that breaks them is ``SourceInvalid``."""
    body: bytes | None
    if response.status_code == HTTPStatus.OK:
        body = await _read_body(response, MAX_BODY)
    else:
        try:
            body = await _read_body(response, MAX_ERROR_BODY)
        except (SourceInvalid, httpx.HTTPError):
            body = None
    headers = response.headers
    return Answer(response.status_code, headers.get("content-type", ""), headers.get("retry-after"), body)


async def _read_body(response: httpx.Response, limit: int) -> bytes:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise SourceInvalid("Clasp's answer has a content encoding that was not asked for")
    gunzip = Gunzip() if encoding.endswith("gzip") else None
    body = bytearray()
    # Not aiter_bytes(): httpx unpacks each chunk from the network whole, a thousandfold where it is a bomb.
    async for chunk in _raw_chunks(response):
        for piece in gunzip.feed(chunk) if gunzip else (chunk,):
            body += piece
            if len(body) > limit:
                raise SourceInvalid(f"Clasp's answer is longer than {limit:,} bytes")
    if gunzip and not gunzip.is_complete:
        raise SourceInvalid("Clasp's answer is a truncated gzip stream")
    return bytes(body)


def _raw_chunks(response: httpx.Response) -> httpx.AsyncByteStream:
    if not isinstance(response.stream, httpx.AsyncByteStream):  # pragma: no cover
        raise TypeError(type(response.stream))
    return response.stream


class Gunzip:
    """A gzip decoder that never holds more than a piece of what comes out."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._has_begun = False

    @property
    def is_complete(self) -> bool:
        """Whether the stream ended where gzip says it does (an empty one has not begun)."""
        return self._member.eof or not self._has_begun

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What ``chunk`` unpacks to, in pieces of at most 64 KiB."""
        while chunk:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            self._has_begun = True
            piece = b"?" * _PIECE
            while not self._member.eof and (chunk or len(piece) == _PIECE):
                try:
                    piece = self._member.decompress(chunk, _PIECE)
                except zlib.error:
                    raise SourceInvalid("Clasp's answer is a broken gzip stream") from None
                chunk = self._member.unconsumed_tail
                yield piece
            chunk = self._member.unused_data if self._member.eof else b""


def error_of(answer: Answer, now: datetime, key: str) -> SourceError:
    """The error that an answer other than the wanted one stands for."""
    status = answer.status
    said = f"Clasp answered {status}" + (f" ({text})" if (text := error_text(answer, key)) else "")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return SourceRefused(
            f"{said}: source.api_key is wrong, revoked, or of the other environment "
            "(sandbox and live keys differ: check source.base_url)"
        )
    if status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        wait_s = retry_after_s(answer.retry_after, now)
        if wait_s is not None and wait_s > MAX_RETRY_AFTER_S:
            return SourceUnavailable(f"{said} and asked us to wait {wait_s:,.0f} s")
        return Transient(said, wait_s)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return SourceInvalid(
            f"Clasp answered {status} (Not Modified), though nothing here is cached"
            if status == HTTPStatus.NOT_MODIFIED
            else f"Clasp answered a redirect ({status}), which is not followed; check source.base_url"
        )
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return SourceInvalid(f"{said}; check source.base_url")
    return SourceInvalid(said)


def error_text(answer: Answer, key: str) -> str:
    """What an error's body says, for people: Clasp's ``type: message``, or something short in its place."""
    if not answer.body:
        return ""
    if answer.is_html:
        return "an HTML page"
    try:
        said = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return clean(answer.body.decode(errors="replace"), key)
    if not isinstance(said, dict):
        return "JSON that is no object"
    parts = [
        part for name in ("type", "message", "detail") if isinstance(part := said.get(name), str) and part
    ]
    return clean(
        "; ".join([": ".join(parts), *_input_errors(said.get("input_errors"))]).removeprefix("; "), key
    )


def _input_errors(errors: Any) -> Iterator[str]:
    for error in errors[:_MAX_INPUT_ERRORS] if isinstance(errors, list) else ():
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            field = error.get("field_path") or error.get("field")
            yield f"{field}: {error['message']}" if isinstance(field, str) else error["message"]


def clean(text: str, key: str = "", limit: int = _MAX_TEXT) -> str:
    """``text`` for one line of an error: bounded, without control characters, without the key."""
    if key:
        text = text.replace(key, "***")
    text = _UNPRINTABLE.sub(" ", text[: 4 * limit]).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` asks for (a number or an HTTP date); None where it says nothing."""
    if header is None:
        return None
    header = header.strip()
    if re.fullmatch(r"[0-9]{1,9}", header):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
