"""The types of single values: each takes what YAML holds, or the text that a variable held.

Stricter than pydantic's own: ``true`` is no number, ``no`` is no switch, a number is no id (``00123``
would become 123). A validator's ``ValueError`` is shown to people, so it never holds the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

from notifier.config.document import HALVED, SURROGATE
from notifier.config.durations import BusinessDays, parse_duration, parse_span
from notifier.config.urls import check_own_host
from notifier.config.words import UnknownWord

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}", re.ASCII)
_RULE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WHOLE = re.compile(r"[-+]?[0-9]{1,15}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)
_DAY_S = 86_400


class Model(BaseModel):
    """Frozen, knows its keys, and keeps what it was given out of its errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


def text(value: Any) -> str:
    """Text of one line, not empty."""
    line = _string(value)
    if _CONTROL.search(line):
        raise ValueError("holds a line break or another control character")
    return line


def _string(value: Any) -> str:
    # pydantic turns ValueError, and only that, into a problem of the configuration
    if isinstance(value, bool):
        raise ValueError("is a switch in YAML, where text is expected; put it in quotes")  # noqa: TRY004
    if isinstance(value, int | float):
        raise ValueError(  # noqa: TRY004
            "is a number in YAML (00123 would become 123), where text is expected; put it in quotes"
        )
    if not isinstance(value, str):
        kind = "null" if value is None else "keys and values" if isinstance(value, dict) else "a list"
        raise ValueError(f"expected text, not {kind}")  # noqa: TRY004
    if not value:
        raise ValueError("is empty")
    return _whole_characters(value)


def _whole_characters(value: str) -> str:
    if SURROGATE.search(value):
        raise ValueError(HALVED)
    return value


def _paragraph(value: Any) -> str:
    words = _string(value).strip()
    if _CONTROL.search(words.replace("\n", "")):
        raise ValueError("holds a control character")
    return words


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise ValueError("is not a whole number")


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    raise ValueError("is not a number")


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise ValueError('is neither true nor false (YAML 1.2 reads "yes", "no", "on" and "off" as words)')


def _percentage(value: Any) -> float:
    found = isinstance(value, str) and value.endswith("%") and _NUMBER.fullmatch(value[:-1])
    if not found:
        raise ValueError("is not a percentage; write a number and a percent sign: 5%")
    share = float(value[:-1]) / 100
    if share > 1:
        raise ValueError("is more than 100%")
    return share


def _status(value: Any) -> Any:
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError("expected a status (text, number, true, false or null), or a list of statuses")
    return _whole_characters(value) if isinstance(value, str) else value


def _name(value: Any) -> str:
    if not _NAME.fullmatch(text(value)):
        raise ValueError(
            'is not a name: letters, digits, "-" and "_", at most 63, the first a letter or digit'
        )
    return str(value)


def _rule_name(value: Any) -> str:
    if not _RULE_NAME.fullmatch(text(value)):
        raise ValueError('is not a name: small letters, digits, ".", "-" and "_", at most 64, no sign first')
    return str(value)


def token(value: Any) -> str:
    """A token as a header takes it."""
    found = text(value)
    if not found.isascii() or " " in found:
        raise ValueError("holds a space or a character outside ASCII")
    if found != found.strip("\"'"):
        raise ValueError("is in quotes, which are no part of it; take them away where the value comes from")
    return found


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def parse_listen(value: Any) -> Address:
    """``127.0.0.1:9464`` or ``[::1]:9464``; port 0 takes any free one. Raises ``ValueError``."""
    host, colon, port = text(value).rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    if not colon or not host or (":" in host) is not is_bracketed or re.search(r"[\s/\[\]@]", host):
        raise ValueError("is not an address to listen at; write host:port, such as 127.0.0.1:9464")
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:  # noqa: PLR2004  -- 16 bits
        raise ValueError("names no port from 0 to 65535")
    check_own_host(host)
    return Address(host, int(port))


def secret_from(check: Callable[[Any], str]) -> BeforeValidator:
    """A validator of a secret's text; what is secret already was checked."""
    return BeforeValidator(lambda value: value if isinstance(value, SecretStr) else check(value))


def word_from(known: Iterable[str], what: str) -> BeforeValidator:
    """A validator of one word of a closed set."""
    words = tuple(known)

    def check(value: Any) -> str:
        if (word := text(value)) not in words:
            raise UnknownWord(what, word, words)
        return word

    return BeforeValidator(check)


def optional(value: Any) -> Any:
    """An empty text, as ``${VAR:-}`` leaves it, says nothing."""
    return None if value == "" else value


def as_list(value: Any) -> Any:
    """A single value is a list of one."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("is an empty list; remove the key, or name something")
        return value
    return [value]


class _OrOne:
    """In the schema for editors: the list, or one of its items."""

    @staticmethod
    def __get_pydantic_json_schema__(core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        return {"anyOf": [schema["items"], {**schema, "minItems": 1}]}


ONE_OR_MORE = (BeforeValidator(as_list), _OrOne())

DURATION_PATTERN = r"^[0-9]+(ms|s|m|h|d)$"
SPAN_PATTERN = r"^[0-9]+(ms|s|m|h|d|bd)$"
PERCENTAGE_PATTERN = r"^[0-9]+(\.[0-9]+)?%$"
_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN})


def _positive(duration: timedelta) -> timedelta:
    if not duration:
        raise ValueError("must be longer than 0s")
    return duration


def _positive_span(span: timedelta | BusinessDays) -> timedelta | BusinessDays:
    if span == BusinessDays(0):
        raise ValueError("must be at least 1bd")
    return _positive(span) if isinstance(span, timedelta) else span


def _at_least_daily(rate: float) -> float:
    if rate * _DAY_S < 1:
        raise ValueError("must be at least one a day (0.0000116)")
    return rate


def _at_least_1s(duration: timedelta) -> timedelta:
    if duration < timedelta(seconds=1):
        raise ValueError("must be at least 1s")
    return duration


Text = Annotated[str, BeforeValidator(text)]
Paragraph = Annotated[str, BeforeValidator(_paragraph)]
Name = Annotated[str, BeforeValidator(_name)]
RuleName = Annotated[str, BeforeValidator(_rule_name)]
Token = Annotated[SecretStr, secret_from(token)]
Whole = Annotated[int, BeforeValidator(_whole)]
Rate = Annotated[float, BeforeValidator(_number), Field(gt=0, le=10_000), AfterValidator(_at_least_daily)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), _DURATION_SCHEMA]
PositiveDuration = Annotated[
    timedelta, BeforeValidator(parse_duration), AfterValidator(_positive), _DURATION_SCHEMA
]
Span = Annotated[
    timedelta | BusinessDays,
    PlainValidator(lambda value: _positive_span(parse_span(value))),
    PlainSerializer(repr),
    WithJsonSchema({"type": "string", "pattern": SPAN_PATTERN}),
]
PollInterval = Annotated[
    timedelta, BeforeValidator(parse_duration), AfterValidator(_at_least_1s), _DURATION_SCHEMA
]
Percentage = Annotated[
    float, BeforeValidator(_percentage), WithJsonSchema({"type": "string", "pattern": PERCENTAGE_PATTERN})
]
Status = Annotated[
    Any, PlainValidator(_status), WithJsonSchema({"type": ["string", "number", "boolean", "null"]})
]
Listen = Annotated[Address, BeforeValidator(parse_listen), WithJsonSchema({"type": "string"})]
