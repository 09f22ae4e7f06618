"""The simulated world by HTTP, under ``/_sandbox/``: for tests in other processes, and for curious people.

No key is needed, but the caller must be on this machine (403 otherwise).

==========================================  ==============================================================
``GET /_sandbox/state``                     how many entities in which status, the faults in force
``GET /_sandbox/journal?since=N``           what happened, from the Nth entry on (0 by default)
``POST /_sandbox/step`` ``{"n": 3}``        let that many things happen (1 by default); the entries of them
``POST /_sandbox/connections``              a new connection; ``{"groups": 2}``
``DELETE /_sandbox/connections/{id}``       it leaves the list, and its id answers 404
``POST /_sandbox/connections/{id}``         ``{"status": ...}``: any JSON value
``POST .../{id}/groups/{gid}``              ``{"status": "needs_attention"}``
``POST .../{id}/milestones``                ``{"category": ..., "status": "processing"}``
``POST .../{id}/milestones/{mid}``          ``{"status": ...}``
``POST /_sandbox/faults``                   a fault (``faults`` lists the kinds), put in force
``DELETE /_sandbox/faults``                 the API behaves again
==========================================  ==============================================================
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from notifier.errors import ConfigError
from notifier.sandbox import answers
from notifier.sandbox.faults import Faults, read_fault
from notifier.sandbox.journal import Entry
from notifier.sandbox.lifecycle import Json
from notifier.sandbox.world import World

PREFIX = "/_sandbox/"
_MAX_STEPS = 100_000
_MAX_DIGITS = 18

Handler = Callable[[web.Request], Awaitable[web.Response]]


def add_routes(app: web.Application, world: World, faults: Faults) -> None:
    """Add the control endpoints to the application."""
    control = _Control(world, faults)
    one = f"{PREFIX}connections/{{id}}"
    routes: tuple[tuple[str, str, Handler], ...] = (
        ("GET", f"{PREFIX}state", control.state),
        ("GET", f"{PREFIX}journal", control.journal),
        ("POST", f"{PREFIX}step", control.step),
        ("POST", f"{PREFIX}connections", control.add_connection),
        ("DELETE", one, control.remove_connection),
        ("POST", one, control.set_status),
        ("POST", f"{one}/groups/{{child}}", control.set_group),
        ("POST", f"{one}/milestones", control.add_milestone),
        ("POST", f"{one}/milestones/{{child}}", control.set_milestone),
        ("POST", f"{PREFIX}faults", control.add_fault),
        ("DELETE", f"{PREFIX}faults", control.clear_faults),
    )
    for method, path, handler in routes:
        app.router.add_route(method, path, _guarded(handler))


def _guarded(handler: Handler) -> Handler:
    """The handler for local callers alone, with its errors in the API's words."""

    async def guarded(request: web.Request) -> web.Response:
        if not _is_local(request.remote):
            return answers.error(HTTPStatus.FORBIDDEN, "The sandbox is controlled from its own machine only.")
        try:
            return await handler(request)
        except KeyError as unknown:
            return answers.error(HTTPStatus.NOT_FOUND, f"There is no {unknown.args[0]}.")
        except ConfigError as wrong:
            fields = dict(problem.split(": ", 1) for problem in wrong.problems)
            return answers.error(HTTPStatus.BAD_REQUEST, "Some fields are not valid.", fields=fields)

    return guarded


class _Control:
    """The control endpoints; ``add_routes`` lists them."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    async def state(self, _request: web.Request) -> web.Response:
        connections: Counter[str] = Counter()
        groups: Counter[str] = Counter()
        milestones: Counter[str] = Counter()
        for connection in self._world.connections():
            connections[str(connection["status"])] += 1
            groups.update(str(group["status"]) for group in connection["group_connections"])
            milestones.update(str(event["status"]) for event in connection["events"])
        return answers.ok(
            {
                "connections": connections,
                "group_connections": groups,
                "milestones": milestones,
                "journal": self._world.forgotten + len(self._world.journal),
                "faults": self._faults.active(),
            }
        )

    async def journal(self, request: web.Request) -> web.Response:
        text = request.query.get("since", "0")
        if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
            raise ConfigError("since: must be a number, 0 or more")
        return _entries(self._world.journal[max(0, int(text) - self._world.forgotten) :])

    async def step(self, request: web.Request) -> web.Response:
        count = (await _body(request)).get("n", 1)
        if type(count) is not int or not 1 <= count <= _MAX_STEPS:
            raise ConfigError(f"n: must be 1 to {_MAX_STEPS:,}")
        return _entries([entry for _ in range(count) for entry in self._world.step()])

    async def add_connection(self, request: web.Request) -> web.Response:
        groups = (await _body(request)).get("groups")
        if groups is not None and (
            type(groups) is not int or not 0 <= groups <= len(self._world.carrier_ids())
        ):
            raise ConfigError(f"groups: must be 0 to {len(self._world.carrier_ids())}")
        return answers.raw(self._world.text(self._world.add_connection(groups=groups)))

    async def remove_connection(self, request: web.Request) -> web.Response:
        return _entries(self._world.remove_connection(request.match_info["id"]))

    async def set_status(self, request: web.Request) -> web.Response:
        body = await _body(request)
        return _entries(self._world.set_status(request.match_info["id"], _given(body, "status")))

    async def set_group(self, request: web.Request) -> web.Response:
        id_, child, body = request.match_info["id"], request.match_info["child"], await _body(request)
        follow = body.get("follow", True) is not False
        return _entries(self._world.set_group_status(id_, child, _given(body, "status"), follow=follow))

    async def add_milestone(self, request: web.Request) -> web.Response:
        body = await _body(request)
        category, status = _given(body, "category"), body.get("status", "processing")
        if not isinstance(category, str):
            raise ConfigError("category: must be text")
        return _entries(self._world.add_milestone(request.match_info["id"], category, status))

    async def set_milestone(self, request: web.Request) -> web.Response:
        id_, child, body = request.match_info["id"], request.match_info["child"], await _body(request)
        follow = body.get("follow", True) is not False
        return _entries(self._world.set_milestone_status(id_, child, _given(body, "status"), follow=follow))

    async def add_fault(self, request: web.Request) -> web.Response:
        self._faults.put(read_fault(await _body(request)))
        return answers.ok({"faults": self._faults.active()})

    async def clear_faults(self, _request: web.Request) -> web.Response:
        self._faults.clear()
        return answers.ok({"faults": []})


async def _body(request: web.Request) -> Json:
    text = await request.text()
    try:
        body = json.loads(text or "{}")
    except ValueError:
        raise ConfigError("body: is not JSON") from None
    if not isinstance(body, dict):
        raise ConfigError("body: must be a JSON object")
    return body


def _given(body: Json, name: str) -> Any:
    if name not in body:
        raise ConfigError(f"{name}: is missing")
    return body[name]


def _entries(entries: list[Entry]) -> web.Response:
    return answers.ok({"entries": [entry.as_json() for entry in entries]})


def _is_local(remote: str | None) -> bool:
    try:
        return ipaddress.ip_address(remote or "").is_loopback
    except ValueError:
        return False
