"""The JSON Schema of a configuration file, for editors.

Made from the models, so it cannot lag behind them; made looser where the file may hold ``${VAR}`` in place
of a number, a switch or a word.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from notifier.config.durations import format_duration
from notifier.config.fields import DURATION_PATTERN, PERCENTAGE_PATTERN
from notifier.config.kinds import config_model, kinds_of, known_types

_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_TYPED = ("integer", "number", "boolean")
_OUTER = ("description", "default")


def json_schema() -> dict[str, Any]:
    """The schema, JSON Schema 2020-12, with every kind of sink that is installed."""
    schema = _loosened(config_model(kinds_of(known_types())).model_json_schema())
    schema["required"] = [*schema["required"], "sinks", "rules"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Clasp notifier configuration",
        **schema,
    }


def _loosened(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_loosened(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    is_constrained = schema.get("type") in _TYPED or "enum" in schema or "pattern" in schema
    if is_constrained:
        inner = {key: value for key, value in schema.items() if key not in {*_OUTER, "title"}}
        return {**_kept(schema), "anyOf": [inner, _VARIABLE]}
    return {
        key: {name: _loosened(part) for name, part in value.items()}
        if key in {"properties", "$defs"}
        else value
        if key == "default"
        else _loosened(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
        and key not in {"discriminator", "writeOnly", "format"}
    }


def _kept(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: schema[key] for key in _OUTER if key in schema}
    if "default" in kept:
        kept["default"] = _as_written(kept["default"], schema.get("pattern"))
    return kept


def _as_written(default: Any, pattern: str | None) -> Any:
    """The default as a file would say it."""
    if pattern == DURATION_PATTERN:
        return format_duration(TypeAdapter(timedelta).validate_python(default))
    if pattern == PERCENTAGE_PATTERN:
        return f"{default:.0%}"
    return default
