"""Configurations for tests, loaded as a user's would be."""

from __future__ import annotations

import tempfile
from pathlib import Path

from notifier.config import Config, load

EVERYTHING = """
  - name: everything
    when: {}
    notify: [backend]
  - name: reports
    when: {type: "notifier.*"}
    notify: [backend]
"""


def config_with(
    rules: str = EVERYTHING, sinks: str = "  backend: {type: console}\n", extra: str = ""
) -> Config:
    """A configuration with these rules and sinks."""
    text = f"""
name: test
source: {{base_url: "https://clasp.test", api_key: key, api_version: "2026-04-24"}}
sinks:
{sinks}
rules:
{rules}
{extra}
"""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "notifier.yaml"
        path.write_text(text)
        return load(path, {})
