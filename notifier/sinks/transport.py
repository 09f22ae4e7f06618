"""What can happen between a sink and its receiver, in the words of the error tree.

:func:`within` holds an attempt to its deadline and turns every error of the HTTP client into a
``DeliveryError``. Messages name a receiver by scheme and host only: path and query of a URL may be secret.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
from yarl import URL

from notifier.errors import DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.sinks.addresses import PRIVATE
from notifier.sinks.session import Access, ForbiddenAddress, RedirectRefused, Sessions

LONGEST_WAIT = timedelta(hours=1)
_REFUSED_BY_PROXY = frozenset({401, 403, 405, 407})
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


def origin(url: URL) -> str:
    """Scheme, host and an unusual port: all of a URL that may be shown."""
    port = "" if url.is_default_port() or url.port is None else f":{url.port}"
    host = url.host or ""
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}{port}"


@asynccontextmanager
async def within(deadline: timedelta, where: str) -> AsyncIterator[None]:
    """Do something over the network, within ``deadline``; any failure becomes a ``DeliveryError``.

    ``RedirectRefused`` is let through: what it means is for the sink to say.
    """
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            yield
    except RedirectRefused:
        raise
    except TimeoutError:
        seconds = f"{deadline.total_seconds():g}"
        raise TemporaryFailure("timeout", f"{where} did not answer within {seconds} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise failure(error, where) from None


async def reach(url: URL, sessions: Sessions, access: Access, deadline: timedelta) -> str:
    """Look up the name and connect, with TLS for https; nothing is sent. One line on what works."""
    if access.proxy is not None:
        proxy = f"the proxy at {origin(access.proxy)}"
        async with within(deadline, proxy):
            await sessions.reach(access.proxy, allow_private=True)
        return f"{proxy} accepts a connection; no request was sent"
    async with within(deadline, origin(url)):
        await sessions.reach(url, allow_private=access.private, own_tls=access.tls)
    how = "a TLS connection with a valid certificate" if url.scheme == "https" else "a connection"
    return f"{origin(url)} accepts {how}; no request was sent"


def failure(error: aiohttp.ClientError | OSError, where: str) -> DeliveryError:  # noqa: PLR0911 - a table
    """The ``DeliveryError`` that a client's error amounts to."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ForbiddenAddress):
        return _forbidden(cause.reason, where)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _by_proxy(error, where)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return TemporaryFailure("proxy", f"the proxy to {where} cannot be reached", unreachable=True)
    if isinstance(error, aiohttp.InvalidURL):
        return SinkFault("invalid_url", f"{where} is not an address that can be connected to; correct it")
    if isinstance(error, aiohttp.ClientSSLError) or isinstance(cause, ssl.SSLError):
        return _tls(error, where)
    if isinstance(cause, socket.gaierror) or isinstance(error, aiohttp.ClientConnectorDNSError):
        return TemporaryFailure("dns", f"the name in {where} cannot be looked up", unreachable=True)
    if isinstance(error, aiohttp.ClientConnectorError) or not isinstance(error, aiohttp.ClientError):
        return TemporaryFailure("connect", f"{where} cannot be reached: {_words(cause)}", unreachable=True)
    if isinstance(error, aiohttp.ClientResponseError):
        return TemporaryFailure("invalid_response", f"{where} answered something that is not HTTP")
    return TemporaryFailure("connection_lost", f"{where} closed the connection before it had answered")


def _by_proxy(error: aiohttp.ClientHttpProxyError, where: str) -> DeliveryError:
    """What a proxy answered when it was asked for the connection. It is not the receiver's answer."""
    if error.status in _REFUSED_BY_PROXY:
        return SinkFault(
            "proxy_refused", f"the proxy refuses the way to {where} ({error.status}); check proxy"
        )
    return TemporaryFailure("proxy", f"the proxy has no way to {where} ({error.status})", unreachable=True)


def _tls(error: BaseException, where: str) -> DeliveryError:
    """A certificate stays wrong until somebody changes it; another failed handshake may be a restart."""
    causes = (error, getattr(error, "certificate_error", None), getattr(error, "os_error", None))
    if not any(isinstance(cause, ssl.CertificateError) for cause in causes):
        return TemporaryFailure("tls_handshake", f"{where} does not complete a TLS handshake")
    said = (getattr(cause, "verify_message", None) for cause in causes)  # aiohttp's own errors have none
    why = next((words for words in said if words), "it cannot be verified")
    return SinkFault("tls", f"the certificate of {where} is not valid: {why}")


def _forbidden(reason: str, where: str) -> SinkFault:
    message = f"{where} leads to a {reason} address, which a sink does not connect to"
    if reason in PRIVATE:
        message += "; if it is your own receiver, name its network in allow_private_addresses"
    return SinkFault("forbidden_address", message)


def _words(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(getattr(error, "strerror", None) or "no connection")


def refusal(
    status: int, where: str, wait: timedelta | None, *, keys: str = "secrets and headers"
) -> DeliveryError:
    """What a status other than 2xx and 3xx amounts to; ``keys`` are those that say who we are."""
    reason = f"http_{status}"
    said = f"{where} answered {status}"
    if status in {401, 403}:
        return SinkFault(reason, f"{said}: it does not accept our requests; check {keys}", status=status)
    if status in {404, 410}:
        return SinkFault(reason, f"{said}: nothing is there any more; check url", status=status)
    if 400 <= status < 500 and status not in {408, 425, 429}:  # noqa: PLR2004
        return PermanentFailure(reason, f"{said}: it refuses this event", status=status)
    throttled = status == HTTPStatus.TOO_MANY_REQUESTS and wait is not None
    return TemporaryFailure(reason, said, status=status, retry_after=wait, throttled=throttled)


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """What ``Retry-After`` asks for, seconds or an HTTP date, at most an hour; None where it says nothing."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return min(timedelta(seconds=min(int(text), 3600)), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
        wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(wait, LONGEST_WAIT) if wait > timedelta() else None
