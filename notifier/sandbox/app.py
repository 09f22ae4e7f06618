"""A world -> the HTTP API that Clasp's page describes, as an aiohttp application.

What a request passes, in this order: the key, the limits, the faults in force, the endpoint. The control
endpoints under ``/_sandbox/`` pass none of them. ``Clasp-Version`` is accepted and changes nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from yarl import URL

from notifier.clock import Clock
from notifier.sandbox import answers, control
from notifier.sandbox.faults import CONNECTION, LIST, NAME, Fault, Faults
from notifier.sandbox.limits import REQUESTS_AT_ONCE, REQUESTS_PER_S, Limits
from notifier.sandbox.mangle import listed_id, mangle, shown
from notifier.sandbox.pages import Page, page_at, read_cursor, read_page_size
from notifier.sandbox.world import World, dump

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HITS = web.RequestKey("hits", list[Fault])


def create_app(
    world: World,
    *,
    api_key: str,
    clock: Clock,
    rate_limit: int | None = REQUESTS_PER_S,
    at_once: int | None = REQUESTS_AT_ONCE,
    faults: Faults | None = None,
    on_traversed: Callable[[], None] | None = None,
) -> web.Application:
    """The API of ``world``. A limit of None is none; ``on_traversed`` is called with each last page sent."""
    faults = Faults() if faults is None else faults
    guard = _Guard(api_key, Limits(clock, per_second=rate_limit, at_once=at_once), faults, clock)
    api = _Api(world, faults, on_traversed or (lambda: None))
    app = web.Application(middlewares=[_errors, guard.keep])
    app.router.add_get("/connections", api.list, name=LIST)
    app.router.add_get("/connections/{id}", api.connection, name=CONNECTION)
    app.router.add_get("/carriers/{id}", api.carrier, name="carriers")
    app.router.add_get("/employers/{id}", api.employer, name="employers")
    app.router.add_post("/connections/{id}/sandbox_simulate_carrier_connections", api.simulate)
    app.router.add_post("/connections/{id}/submit_review", api.submit_review)
    control.add_routes(app, world, faults)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The router's own refusals, in Clasp's words."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as refusal:
        headers = {"Allow": ", ".join(sorted(refusal.allowed_methods))}
        return answers.error(refusal.status, f'Method "{request.method}" not allowed.', headers=headers)
    except web.HTTPNotFound as refusal:
        return answers.error(refusal.status, "Not found.")


class _Guard:
    """What stands between a request and its endpoint: the key, the limits, the faults."""

    def __init__(self, api_key: str, limits: Limits, faults: Faults, clock: Clock) -> None:
        self._authorization = f"Bearer {api_key}".encode()
        self._limits = limits
        self._faults = faults
        self._clock = clock

    @web.middleware
    async def keep(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(control.PREFIX):
            return await handler(request)
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), self._authorization):
            wrong = "Invalid API key." if given else "Authentication credentials were not provided."
            return answers.error(HTTPStatus.UNAUTHORIZED, wrong, headers={"WWW-Authenticate": "Bearer"})
        with self._limits.request() as wait_s:
            if wait_s is not None:
                return answers.throttled(str(wait_s))
            return await self._answer(request, handler)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        hits = self._faults.take(*_target(request))
        request[_HITS] = hits
        for fault in hits:
            if fault.kind == "slow":
                await self._clock.sleep(fault.seconds)
            elif fault.kind == "throttle":
                return answers.throttled(fault.retry_after)
            elif fault.kind == "status" and fault.html:
                return answers.html(fault.status)
            elif fault.kind == "status":
                return answers.error(fault.status, f"The sandbox was asked to answer {fault.status}.")
            elif fault.kind == "drop" and not fault.midway:
                return _hang_up(request)
        answer = await handler(request)
        if any(fault.kind == "drop" for fault in hits) and isinstance(answer, web.Response):
            return await _hang_up_midway(request, answer)
        return answer


class _Api:
    """Clasp's endpoints."""

    def __init__(self, world: World, faults: Faults, on_traversed: Callable[[], None]) -> None:
        self._world = world
        self._faults = faults
        self._on_traversed = on_traversed

    async def list(self, request: web.Request) -> web.Response:
        """``GET /connections``."""
        try:
            cursor = read_cursor(request.query.get("cursor", ""))
        except ValueError as wrong:
            return answers.error(HTTPStatus.NOT_FOUND, str(wrong))
        url = URL.build(scheme=request.scheme, authority=request.host, path=request.path).with_query(
            request.query
        )
        page = page_at(self._world, cursor, read_page_size(request.query.get("page_size")), url)
        for fault in request[_HITS]:
            mangled = mangle(page, fault, cursor, url)
            if not isinstance(mangled, Page):
                return answers.raw(mangled)
            page = mangled
        if page.next is None:
            self._on_traversed()
        return answers.raw(page.body())

    async def connection(self, request: web.Request) -> web.Response:
        """``GET /connections/{id}``."""
        return self._one(self._id_of(request))

    async def simulate(self, request: web.Request) -> web.Response:
        """``POST /connections/{id}/sandbox_simulate_carrier_connections``: its carriers move on."""
        id_ = self._id_of(request)
        if id_ is not None:
            self._world.simulate_carriers(id_)
        return self._one(id_)

    async def submit_review(self, request: web.Request) -> web.Response:
        """``POST /connections/{id}/submit_review``: the employer has looked at what was pulled."""
        id_ = self._id_of(request)
        if id_ is not None:
            self._world.submit_review(id_)
        return self._one(id_)

    async def carrier(self, request: web.Request) -> web.Response:
        """``GET /carriers/{id}``."""
        try:
            return answers.ok(self._world.carrier(request.match_info["id"]))
        except KeyError:
            return answers.error(HTTPStatus.NOT_FOUND, "Not found.")

    async def employer(self, request: web.Request) -> web.Response:
        """``GET /employers/{id}``."""
        id_ = listed_id(request.match_info["id"], self._faults)
        try:
            found = self._world.employer(id_ or "")
        except KeyError:
            return answers.error(HTTPStatus.NOT_FOUND, "Not found.")
        return answers.raw(shown(dump(found), self._faults))

    def _id_of(self, request: web.Request) -> str | None:
        id_ = listed_id(request.match_info["id"], self._faults)
        return id_ if id_ in self._world else None

    def _one(self, id_: str | None) -> web.Response:
        if id_ is None:
            return answers.error(HTTPStatus.NOT_FOUND, "Not found.")
        return answers.raw(shown(self._world.text(id_), self._faults))


def _target(request: web.Request) -> tuple[str, int | None]:
    """Which faults concern a request: its target and, for the list, the page's number."""
    name = request.match_info.route.name
    if name != LIST:
        return (NAME if name in {"carriers", "employers"} else CONNECTION), None
    try:
        return LIST, read_cursor(request.query.get("cursor", "")).number
    except ValueError:
        return LIST, None


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _hang_up_midway(request: web.Request, answer: web.Response) -> web.StreamResponse:
    body = answer.body if isinstance(answer.body, bytes) else b""
    cut = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
    cut.content_length = len(body)
    await cut.prepare(request)
    await cut.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()  # after what was written
    return cut
