"""An async client of the part of Clasp's API that the notifier needs.

:meth:`ClaspClient.pages` is one traversal of the list: it ends without an error only where Clasp said that
there is no next page, so a traversal that ends is complete. The cursor alone is taken out of ``next`` and
used on the configured origin: the key is sent nowhere else, no redirect is followed, no proxy is taken from
the environment, no cookie is kept. Pages are fetched one after another.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec
import xxhash
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from notifier.clasp.answers import Answer, Transient, clean, error_of, read_answer
from notifier.clasp.lenient import split_page
from notifier.clock import Clock
from notifier.errors import ConfigError, SourceError, SourceInvalid, SourceUnavailable

MAX_PAGES = 100_000
MAX_EMPTY_PAGES = 100  # in a row
MAX_CURSOR = 4096  # characters
MAX_VALUES = 400_000  # in one answer; a page of 100 connections has some thousands
_MAX_ID = 255
_MAX_NAME = 255
_ATTEMPTS = 4
_BACKOFF_S = 1.0  # doubled after each attempt, times 0.5 to 1
_MAX_BACKOFF_S = 8.0
_RETRY_AFTER_JITTER_S = 0.25
_NAME_TIMEOUT = timedelta(seconds=2)  # names are optional: an alert never waits longer for them


class Page(msgspec.Struct, frozen=True):
    """One page of the list: its bytes, their fingerprint, and the cursor of the next page, if there is one.

    ``count`` is how many items it has. :attr:`results` holds them undecoded, and is made when asked for: a
    page whose bytes are known need not be taken apart.
    """

    body: bytes
    fingerprint: bytes
    count: int
    next_cursor: str | None
    items: list[msgspec.Raw] | None = None

    @property
    def results(self) -> list[msgspec.Raw]:
        """The items, undecoded."""
        return _opened(self.body).results if self.items is None else self.items


class _Known(msgspec.Struct, frozen=True):
    """A page that was taken apart before: how many items it has, and the cursor in its ``next``."""

    count: int
    cursor: str | None


class Carrier(msgspec.Struct, frozen=True):
    """A carrier by the name that people know."""

    id: str
    name: str


class Employer(msgspec.Struct, frozen=True):
    """An employer by its name and by the provider's own id of it."""

    id: str
    name: str | None
    external_id: str | None


class _Envelope(msgspec.Struct):
    results: list[msgspec.Raw]
    next: Any = msgspec.UNSET


class _Named(msgspec.Struct):
    id: Any = None
    legal_name: Any = None
    trade_name: Any = None
    external_id: Any = None


class _Identified(msgspec.Struct):
    id: Any = None


_T = TypeVar("_T")
#: An answer, and the error that it stands for where it is another than the wanted one.
_Answered = tuple[Answer, SourceError | None]
_envelope = msgspec.json.Decoder(_Envelope)
_named = msgspec.json.Decoder(_Named)
_identified = msgspec.json.Decoder(_Identified)


class ClaspClient:
    """Reads one account. ``timeout`` bounds one request as a whole; all tries of it take at most twice that.

    ``transport`` is for tests. Raises ``ConfigError`` for a key or version that no header can carry.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        api_version: str | None,
        page_size: int,
        timeout: timedelta,
        clock: Clock,
        rng: random.Random,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._key = _header_value(api_key, "source.api_key")
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"clasp-notifier/{version('clasp-notifier')}",
        }
        if api_version is not None:
            headers["Clasp-Version"] = _header_value(api_version, "source.api_version")
        self._base = base_url.rstrip("/")
        try:
            self._list_url = httpx.URL(f"{self._base}/connections")
        except httpx.InvalidURL:
            raise ConfigError("source.base_url is not a URL") from None
        self._page_size = page_size
        self._timeout_s = timeout.total_seconds()
        self._known_pages: dict[bytes, _Known] = {}  # of the last whole traversal
        self._clock = clock
        self._rng = rng
        tls = httpx.create_ssl_context(trust_env=False) if transport is None else True
        self._http, self._http_afresh = (
            httpx.AsyncClient(
                headers=headers,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
                trust_env=False,
                timeout=None,  # noqa: S113 - asyncio.timeout() bounds each request as a whole
                limits=httpx.Limits(max_keepalive_connections=kept),
                transport=transport,
                verify=tls,
            )
            # A kept connection may hold bytes that lay behind an earlier answer, such as a 404 sent twice.
            # What says that a connection is gone must be the answer to that question and no other.
            for kept in (1, 0)
        )

    def renew(self, api_key: str) -> None:
        """Ask with this key from now on. Raises ``ConfigError`` for one that no header can carry."""
        self._key = _header_value(api_key, "source.api_key")
        for http in (self._http, self._http_afresh):
            http.headers["Authorization"] = f"Bearer {self._key}"

    async def pages(self) -> AsyncIterator[Page]:
        """One traversal of the list: ends where ``next`` is null, raises ``SourceError`` where it cannot."""
        cursor: str | None = None
        followed: set[bytes] = set()
        shown: dict[bytes, _Known] = {}
        empty = 0
        for _ in range(MAX_PAGES):
            params = {"page_size": str(self._page_size)} | ({"cursor": cursor} if cursor else {})
            url = httpx.URL(f"{self._list_url}?{urlencode(params)}")
            answer, error = await self._patiently(self._http, url)
            if error is not None:
                raise error
            body = answer.body or b""
            fingerprint = xxhash.xxh3_128_digest(body)
            page, items = self._known_pages.get(fingerprint), None
            if page is None:
                envelope = _opened_answer(answer)
                items = envelope.results
                try:
                    page = _Known(len(items), self._cursor_in(envelope.next))
                except SourceInvalid:
                    yield Page(body, fingerprint, len(items), None, items)  # what was seen counts
                    raise
            cursor = page.cursor
            if cursor is not None and _is_circle(cursor, followed):
                yield Page(body, fingerprint, page.count, None, items)
                raise SourceInvalid("Clasp's list goes in a circle: a cursor came twice")
            shown[fingerprint] = page
            yield Page(body, fingerprint, page.count, cursor, items)
            if cursor is None:
                self._known_pages = shown
                return
            empty = 0 if page.count else empty + 1
            if empty >= MAX_EMPTY_PAGES:
                raise SourceInvalid(f"Clasp's list went on for {empty} pages without a connection")
        raise SourceInvalid(f"Clasp's list did not end within {MAX_PAGES:,} pages")

    async def connection(self, id: str) -> msgspec.Raw | None:  # noqa: A002 - Clasp's word
        """One connection, undecoded; None where Clasp itself says that it is gone (404, 410)."""
        answer, error = await self._patiently(self._http_afresh, self._object_url("connections", id))
        if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            if not answer.is_clasps_refusal:
                raise SourceInvalid(f"a gateway, not Clasp, answered {answer.status} for a connection")
            return None
        if error is not None:
            raise error
        _refuse_masses(answer)
        if _decoded(_identified, answer).id != id:
            raise SourceInvalid("Clasp answered with another connection than the one asked for")
        return msgspec.Raw(answer.body or b"")

    async def carrier(self, id: str) -> Carrier | None:  # noqa: A002
        """A carrier's name in one short try; None where it has none or is unknown."""
        found = await self._named("carriers", id)
        name = found and (_text(found.trade_name) or _text(found.legal_name))
        return Carrier(id, name) if name else None

    async def employer(self, id: str) -> Employer | None:  # noqa: A002
        """An employer's name and external id in one short try; None where it is unknown."""
        found = await self._named("employers", id)
        if found is None:
            return None
        return Employer(id, _text(found.trade_name) or _text(found.legal_name), _text(found.external_id))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await self._http_afresh.aclose()

    async def _named(self, path: str, id_: str) -> _Named | None:
        limit_s = min(self._timeout_s, _NAME_TIMEOUT.total_seconds())
        answer, error = await self._ask(self._http, self._object_url(path, id_), limit_s)
        if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            return None
        if error is not None:
            raise error
        _refuse_masses(answer)
        found = _decoded(_named, answer)
        if found.id != id_:
            raise SourceInvalid(f"Clasp answered with another object of {path} than the one asked for")
        return found

    async def _patiently(self, http: httpx.AsyncClient, url: httpx.URL) -> _Answered:
        """Ask again while that may help: bounded by attempts and by time."""
        started, deadline_s = self._clock.monotonic(), 2 * self._timeout_s

        def is_spent(state: RetryCallState) -> bool:
            elapsed_s = self._clock.monotonic() - started
            return state.attempt_number >= _ATTEMPTS or elapsed_s + state.upcoming_sleep >= deadline_s

        async def attempt() -> _Answered:
            left_s = deadline_s - (self._clock.monotonic() - started)
            answer, error = await self._ask(http, url, min(self._timeout_s, left_s))
            if isinstance(error, SourceUnavailable):
                raise error
            return answer, error

        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            retry=retry_if_exception_type(Transient),
            stop=is_spent,
            wait=self._pause_s,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except Transient as error:
            attempts = int(retrying.statistics.get("attempt_number", 1))
            asked = f"; it asked us to wait {error.wait_s:,.0f} s" if error.wait_s else ""
            tried = f" (tried {attempts} times{asked})" if attempts > 1 or asked else ""
            raise SourceUnavailable(f"{error}{tried}") from error

    def _pause_s(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Transient) and error.wait_s is not None:
            return error.wait_s + self._rng.random() * _RETRY_AFTER_JITTER_S
        backoff_s = min(_MAX_BACKOFF_S, _BACKOFF_S * 2.0 ** (state.attempt_number - 1))
        return backoff_s * self._rng.uniform(0.5, 1.0)

    async def _ask(self, http: httpx.AsyncClient, url: httpx.URL, limit_s: float) -> _Answered:
        """One request and its whole response within ``limit_s``."""
        key = self._key  # what this request is sent with, and its errors are cleaned of: it may be renewed
        try:
            async with asyncio.timeout(limit_s), http.stream("GET", url) as response:
                answer = await read_answer(response)
        except (TimeoutError, httpx.TimeoutException):
            raise Transient(f"Clasp did not answer in full within {limit_s:.3g} s") from None
        except httpx.RequestError as error:
            why = clean(str(error), key) or type(error).__name__
            where = f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"
            raise Transient(f"Clasp could not be reached at {where} (source.base_url): {why}") from error
        is_wanted = answer.status == HTTPStatus.OK
        return answer, None if is_wanted else error_of(answer, self._clock.now(), key)

    def _object_url(self, path: str, id_: str) -> httpx.URL:
        if not 0 < len(id_) <= _MAX_ID or id_ in {".", ".."} or "/" in id_ or "\\" in id_:
            raise SourceInvalid(f"an id of {path} cannot be asked for: it is no part of a path")
        try:
            return httpx.URL(f"{self._base}/{path}/{quote(id_, safe='')}")
        except (httpx.InvalidURL, UnicodeEncodeError):
            raise SourceInvalid(f"an id of {path} cannot be asked for: it is no part of a path") from None

    def _cursor_in(self, next_: Any) -> str | None:
        """The cursor in ``next``, which may lead nowhere but on in our list; None at its end."""
        if next_ is None:
            return None
        if not isinstance(next_, str):
            raise SourceInvalid("Clasp's list has a `next` that is neither a URL nor null")
        try:
            url = httpx.URL(next_)
            cursors = url.params.get_list("cursor")
        except (httpx.InvalidURL, ValueError):
            raise SourceInvalid("Clasp's list has a `next` that is not a URL") from None
        if _place(url) != _place(self._list_url) or url.userinfo:
            raise SourceInvalid(
                "Clasp's list has a `next` that leads elsewhere (it must keep host, port and path); "
                "check source.base_url"
            )
        if len(cursors) != 1 or not 0 < len(cursors[0]) <= MAX_CURSOR:
            raise SourceInvalid("Clasp's list has a `next` without a usable cursor")
        return cursors[0]


def _place(url: httpx.URL) -> tuple[bool, str, int | None, str]:
    """Where a URL leads. http and https are one: a server behind a TLS proxy may not know which it is."""
    return url.scheme in {"http", "https"}, url.host, url.port, url.path.rstrip("/")


def _is_circle(cursor: str, followed: set[bytes]) -> bool:
    """Whether this cursor was followed before in this traversal."""
    digest = xxhash.xxh3_128_digest(cursor.encode(errors="surrogatepass"))
    if digest in followed:
        return True
    followed.add(digest)
    return False


def _opened_answer(answer: Answer) -> _Envelope:
    """The envelope of a page. Where one item is not valid JSON, the others still count."""
    _refuse_masses(answer)
    try:
        return _decoded(_envelope, answer)
    except SourceInvalid:
        try:
            return _Envelope(*split_page(answer.body or b""))
        except SourceInvalid:
            pass  # what the strict decoder said is the better message
        raise


def _refuse_masses(answer: Answer) -> None:
    """Count before decoding: each value costs a hundred times its byte in memory, and time of the loop."""
    body = answer.body or b""
    if len(body) > MAX_VALUES and body.count(b",") > MAX_VALUES:
        raise SourceInvalid(f"Clasp's answer holds more than {MAX_VALUES:,} values")


def _opened(body: bytes) -> _Envelope:
    """The envelope of a page that was opened before."""
    try:
        return _envelope.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Envelope(*split_page(body))


def _decoded(decoder: msgspec.json.Decoder[_T], answer: Answer) -> _T:
    try:
        return decoder.decode(answer.body or b"")
    except msgspec.ValidationError:
        raise SourceInvalid("Clasp's answer is JSON of another shape than documented") from None
    except RecursionError:
        raise SourceInvalid("Clasp's answer is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        kind = "an HTML page" if answer.is_html else "no valid JSON, or cut short"
        raise SourceInvalid(f"Clasp's answer is {kind}") from None


def _header_value(value: str, name: str) -> str:
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        raise ConfigError(f"{name} is empty or holds characters that no header can carry")
    return value


def _text(value: Any) -> str | None:
    return clean(value, limit=_MAX_NAME) or None if isinstance(value, str) else None
