"""The guarded HTTP sessions that webhooks and Slack share.

The guard sits where a socket is made, after every look-up: whatever a name resolves to at that moment, and
however an address is spelled, what is refused is the address that would really be connected to. Proxies
from the environment are not used (they would connect in our place), redirects are never followed, cookies
are not kept, TLS is always verified, and no reply is read past :data:`MAX_REPLY` bytes, before or after
decompression.

There is one session that reaches public addresses only, and one for each set of private networks that some
sink may reach too. Certificates and a proxy of a sink's own go with each request (:class:`Access`).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import zlib
from typing import TYPE_CHECKING, Self

import aiohttp
import msgspec
from aiohttp import AddrInfoType, DummyCookieJar
from aiohttp.abc import AbstractResolver
from yarl import URL

from notifier import __version__
from notifier.config.connections import Network
from notifier.sinks.addresses import is_forbidden

if TYPE_CHECKING:
    from aiohttp.connector import Connection

USER_AGENT = f"clasp-notifier/{__version__}"
MAX_REPLY = 64 * 1024
_MAX_HEADERS, _MAX_LINE = 128, 8190  # aiohttp's own defaults, written down because promises rest on them
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


Private = bool | tuple[Network, ...]  # may it be reached: all of it, none, or these networks


class Access(msgspec.Struct, frozen=True):
    """How a sink reaches its receiver.

    Through a ``proxy`` (a URL, with its user and password) the guard sees the proxy's address only, which
    may be private: what lies behind is the proxy's to judge.
    """

    private: Private = False
    tls: ssl.SSLContext | None = None
    proxy: URL | None = None

    @property
    def way(self) -> Private:
        """Which session the requests need."""
        return True if self.proxy is not None else self.private


PUBLIC = Access()


class ForbiddenAddress(OSError):
    """The name led to an address that a sink must not connect to.

    All have the same text, so that several of them in a row stay one error.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, "forbidden address")
        self.reason = reason


class RedirectRefused(aiohttp.ClientError):
    """The receiver sent us elsewhere."""

    def __init__(self, status: int) -> None:
        super().__init__(f"redirect ({status})")
        self.status = status


class GuardedResponse(aiohttp.ClientResponse):
    """A reply that leads nowhere else and has a bounded size."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read status and headers; raise :class:`RedirectRefused` on any 3xx."""
        transport = connection.transport
        await super().start(connection)
        if self.status == 101 and transport is not None:  # noqa: PLR2004
            transport.abort()  # whatever is spoken there now, it is not HTTP: never use it again
        if 300 <= self.status < 400:  # noqa: PLR2004
            raise RedirectRefused(self.status)
        return self

    async def read(self) -> bytes:
        """The body, decompressed; cut at :data:`MAX_REPLY`, where the connection is dropped."""
        if self._body is None:
            body = bytearray()
            try:
                async for chunk in self.content.iter_any():
                    body += chunk
                    if len(body) > MAX_REPLY:
                        self.close()
                        break
            except BaseException:
                self.close()
                raise
            self._body = _decompressed(bytes(body[:MAX_REPLY]), self.headers.get("Content-Encoding", ""))
        return self._body


def _decompressed(body: bytes, encoding: str) -> bytes:
    """At most :data:`MAX_REPLY` bytes; we ask for no compression, but are not always heard."""
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, MAX_REPLY)
    except zlib.error:
        return body


class Sessions:
    """Makes the sessions when they are first asked for, in the running event loop, and closes them.

    ``resolver`` and ``tls`` replace the system's resolver and trusted certificates.
    """

    def __init__(self, resolver: AbstractResolver | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._resolver = resolver
        self._tls = tls
        self._open: dict[Private, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get(self, *, allow_private: Private) -> aiohttp.ClientSession:
        """The session for sinks that may, or may not, reach private addresses."""
        session = self._open.get(allow_private)
        if session is None or session.closed:
            session = self._open[allow_private] = self._session(allow_private=allow_private)
        return session

    async def reach(self, url: URL, *, allow_private: Private, own_tls: ssl.SSLContext | None = None) -> str:
        """Connect to the URL's host, with TLS for https, send nothing, and name the address reached.

        Raises ``OSError`` (also ``ssl.SSLError``, ``socket.gaierror``, :class:`ForbiddenAddress`).
        """
        loop = asyncio.get_running_loop()
        host, port = url.host or "", url.port or 0
        tls = (own_tls or self._tls or ssl.create_default_context()) if url.scheme == "https" else None
        failure: OSError = ConnectionRefusedError(errno.ECONNREFUSED, "no address")
        for found in await self._look_up().resolve(host, port, socket.AF_UNSPEC):
            info = (found["family"], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (found["host"], port))
            try:
                sock = _guarded_socket(info, allow_private=allow_private)
            except OSError as error:
                failure = error
                continue
            try:
                sock.setblocking(False)  # noqa: FBT003 - the standard library's own signature
                await loop.sock_connect(sock, info[4])
                transport, _ = await loop.create_connection(
                    asyncio.Protocol, sock=sock, ssl=tls, server_hostname=host if tls else None
                )
            except OSError as error:
                failure = error
                sock.close()
            except BaseException:
                sock.close()
                raise
            else:
                transport.abort()
                return str(found["host"])
        raise failure

    async def close(self) -> None:
        """Close every connection."""
        sessions, self._open = list(self._open.values()), {}
        for session in sessions:
            await session.close()

    def _look_up(self) -> AbstractResolver:
        return self._resolver or aiohttp.ThreadedResolver()

    def _session(self, *, allow_private: Private) -> aiohttp.ClientSession:
        def guard(info: AddrInfoType) -> socket.socket:
            return _guarded_socket(info, allow_private=allow_private)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the dispatcher bounds concurrency; here one sink must never wait for another
                resolver=self._look_up(),
                ssl=self._tls or True,
                socket_factory=guard,
            ),
            cookie_jar=DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),  # one deadline around the whole attempt instead
            response_class=GuardedResponse,
            auto_decompress=False,
            trust_env=False,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
            max_headers=_MAX_HEADERS,
        )


def _guarded_socket(info: AddrInfoType, *, allow_private: Private) -> socket.socket:
    """A socket for this address, if it may be connected to. Nothing was sent anywhere before this."""
    family, kind, protocol, _, address = info
    reason = is_forbidden(str(address[0]), allow_private=allow_private)
    if reason is not None:
        raise ForbiddenAddress(reason)
    return socket.socket(family=family, type=kind, proto=protocol)
