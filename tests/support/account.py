"""A Clasp account in memory: what its API would answer, page by page, with faults on demand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

BASE = "https://clasp.test"
SERVER_ERROR = httpx.Response(500, text="<html>oops</html>")


def group(id_: str, status: str = "pending", **fields: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "carrier": "carr_A",
        "status": status,
        "broker_federal_ein": "12-3456789",
        "group_id": "00123",
        "connection": "",
        "initiated_at": "2026-01-02T03:04:05Z",
        "completed_at": None,
        **fields,
    }


def milestone(id_: str, status: str = "completed", category: str = "payroll_connected") -> dict[str, Any]:
    return {"id": id_, "category": category, "status": status, "created_at": "2026-01-02T03:04:05.123456Z"}


def connection(id_: str, *groups: dict[str, Any], milestones: Any = (), **fields: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "broker_url": None,
        "employer": f"er_{id_}",
        "group_connections": [{**item, "connection": id_} for item in groups],
        "events": list(milestones),
        "status": "processing",
        **fields,
    }


class Account:
    """``listed`` is what the list shows; ``by_id`` overrides what ``GET /connections/{id}`` answers."""

    def __init__(self, *connections: dict[str, Any], page_size: int = 3) -> None:
        self.listed: list[Any] = list(connections)
        self.by_id: dict[str, httpx.Response] = {}
        self.page_size = page_size
        self.answer: Callable[[httpx.Request, int], httpx.Response | None] = lambda _request, _page: None
        self.requests: list[str] = []
        self.served: list[bytes] = []  # every 200 about connections, in order
        self.names: dict[str, str | int] = {"carriers": "Guardian", "employers": "Acme Corp"}  # or a status
        self.refused: set[str] = set()  # ids of employers of which nothing is said

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    def __getitem__(self, id_: str) -> dict[str, Any]:
        return next(item for item in self.listed if item["id"] == id_)

    def set_status(self, id_: str, group_id: str, status: str) -> None:
        for item in self[id_]["group_connections"]:
            if item["id"] == group_id:
                item["status"] = status

    def drop(self, *ids: str) -> None:
        self.listed = [item for item in self.listed if item["id"] not in ids]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        answer = self._answer(request)
        if request.url.path.startswith("/connections") and answer.status_code == httpx.codes.OK:
            self.served.append(answer.content)
        return answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.url.path)
        parts = request.url.path.strip("/").split("/")
        if parts == ["connections"]:
            start = int(request.url.params.get("cursor") or 0)
            forced = self.answer(request, start // self.page_size)
            return forced if forced is not None else self._page(start)
        if parts[0] == "connections":
            return self._one(parts[1])
        status = 403 if parts[-1] in self.refused else self.names.get(parts[0])
        if isinstance(status, int):
            return httpx.Response(status)
        if parts[0] in self.names:
            return httpx.Response(
                200,
                json={
                    "id": parts[1],
                    "legal_name": self.names[parts[0]],
                    "trade_name": None,
                    "external_id": "48213",
                },
            )
        return httpx.Response(404, json={"type": "not_found", "message": "no such path"})

    def _page(self, start: int) -> httpx.Response:
        end = start + self.page_size
        more = f"{BASE}/connections?cursor={end}" if end < len(self.listed) else None
        page = {"next": more, "previous": None, "results": self.listed[start:end]}
        return httpx.Response(200, content=json.dumps(page).encode())

    def _one(self, id_: str) -> httpx.Response:
        if id_ in self.by_id:
            return self.by_id[id_]
        for item in self.listed:
            if item["id"] == id_:
                return httpx.Response(200, json=item)
        return httpx.Response(404, json={"type": "not_found", "message": "no such connection"})
