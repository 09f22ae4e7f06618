"""Configuration files for the command, written as a user would write them."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.stage import API_KEY, SECRET, Receiver, Stage

EVERYTHING = """\
  - name: everything-to-our-backend
    when: {}
    notify: [backend]
  - name: the-notifier-itself
    when: {type: "notifier.*"}
    notify: [backend]
"""


def webhook(name: str, receiver: Receiver, **options: object) -> str:
    """A webhook sink on loopback."""
    keys = {"timeout": "5s", **options}
    more = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    return (
        f"  {name}:\n    type: webhook\n    url: {receiver.url}\n    allow_private_addresses: true\n"
        f'    secrets: ["${{WEBHOOK_SECRET:-{SECRET}}}"]\n{more}'
    )


def write_config(
    place: Path,
    stage: Stage,
    sinks: str,
    rules: str = EVERYTHING,
    *,
    store: str = "embedded:store",
    source: str = "",
    name: str = "notifier.yaml",
) -> Path:
    """A configuration that polls every second."""
    path = place / name
    path.write_text(
        f"name: e2e\n"
        f"source:\n  base_url: {stage.base_url}\n  api_key: {API_KEY}\n"
        f"  poll_interval: 1s\n  page_size: 5\n{source}"
        f"store: {store}\n"
        f"sinks:\n{sinks}"
        f"rules:\n{rules}"
    )
    return path
