"""The API's answers: JSON as Django REST Framework writes it, and Clasp's error body."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp import web

from notifier.sandbox.world import dump

#: Error types by status. ``validation_error`` and ``throttled`` are Clasp's; the others are guesses.
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.BAD_REQUEST: "validation_error",
    HTTPStatus.TOO_MANY_REQUESTS: "throttled",
}


def raw(body: bytes, status: int = HTTPStatus.OK) -> web.Response:
    """An answer whose JSON is already written."""
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def ok(value: Any) -> web.Response:
    """200 with a JSON value."""
    return raw(dump(value))


def error(
    status: int, message: str, *, headers: dict[str, str] | None = None, fields: dict[str, str] | None = None
) -> web.Response:
    """Clasp's error body; ``fields`` maps each wrong field to what is wrong with it."""
    body: dict[str, Any] = {"type": error_type(status), "message": message}
    if fields:
        body["input_errors"] = [
            {"field": name, "field_path": name, "message": wrong} for name, wrong in fields.items()
        ]
    answer = raw(dump(body), status)
    answer.headers.update(headers or {})
    return answer


def error_type(status: int) -> str:
    """The word for a status in an error body."""
    known = {int(code): name for code, name in _TYPES.items()}
    return known.get(status, "api_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request")


def throttled(retry_after: str | None) -> web.Response:
    """429; ``retry_after`` None leaves the header out."""
    wait = f" Expected available in {retry_after} seconds." if retry_after else ""
    headers = {"Retry-After": retry_after} if retry_after else {}
    return error(HTTPStatus.TOO_MANY_REQUESTS, f"Request was throttled.{wait}", headers=headers)


def html(status: int) -> web.Response:
    """What a gateway answers in Clasp's place."""
    title = f"{status} {HTTPStatus(status).phrase if status in list(HTTPStatus) else 'Error'}"
    return web.Response(
        text=f"<html><head><title>{title}</title></head><body><h1>{title}</h1><hr>nginx</body></html>",
        status=status,
        content_type="text/html",
    )
