"""Lists on a terminal: what is there to be copied stands whole on one line."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from notifier.cli import common

ROWS = [
    {
        "time": "2026-11-18T11:26:20.000Z",
        "employer": f"Acme Corporation of Springfield and Sons {n}",
        "told": "benefits (not yet), carrier-ops (kept back)",
        "entity": f"gcon_XBRFewvNYKKGaINmKHnv{n}",
        "event": f"evt_3b1bf521d404c227439a90d40896f8f{n}",
    }
    for n in range(3)
]


@pytest.fixture
def listed(monkeypatch):
    """What a terminal of this width shows of rows."""

    def listed(rows, width: int) -> list[str]:
        file = io.StringIO()
        terminal = Console(file=file, force_terminal=True, color_system=None, width=width, soft_wrap=True)
        monkeypatch.setattr(common, "out", terminal)
        common.show(rows, as_json=False, empty="nothing")
        return file.getvalue().splitlines()

    return listed


@pytest.mark.parametrize("width", [60, 80, 100, 120, 131, 132, 150, 250])
def test_ids_and_moments_are_never_folded(listed, width):
    words = " ".join(listed(ROWS, width)).split()
    for row in ROWS:
        assert {row["time"], row["entity"], row["event"]} <= {*words}


def test_a_table_is_as_wide_as_the_terminal_at_most(listed):
    lines = listed(ROWS, 132)
    assert lines[0].split() == list(ROWS[0])
    assert max(map(len, lines)) <= 132


def test_where_a_table_would_be_too_wide_each_row_is_a_record(listed):
    lines = listed(ROWS, 80)
    assert lines[:6] == [
        "time      2026-11-18T11:26:20.000Z",
        "employer  Acme Corporation of Springfield and Sons 0",
        "told      benefits (not yet), carrier-ops (kept back)",
        "entity    gcon_XBRFewvNYKKGaINmKHnv0",
        "event     evt_3b1bf521d404c227439a90d40896f8f0",
        "",
    ]
