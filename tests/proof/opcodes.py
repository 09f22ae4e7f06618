"""Stops a process at one chosen opcode of ``notifier/``.

Nothing between two opcodes of the notifier can tell a crash there from a crash at the second one: what is
sent and what is written goes out from within an opcode. So every place at which a process may die is one of
finitely many, and can be tried.
"""

from __future__ import annotations

import os
import sys
from asyncio.selector_events import _SelectorSocketTransport
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import notifier

_ROOT = str(Path(notifier.__file__).parent)


class Opcodes:
    """Counts opcodes within ``notifier/``; calls ``action`` at the one with number ``at``, from 1.

    ``effects`` are the counts at which something left the process: between two of them the world outside is
    the same, wherever the process dies.
    """

    def __init__(self, at: int = 0, action: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self.effects: list[int] = []
        self._at = at
        self._action = action

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Count while the block runs, in this thread; coroutines that are resumed in it count too."""
        with (
            mock.patch.object(
                _SelectorSocketTransport, "write", self._marking(_SelectorSocketTransport.write)
            ),
            mock.patch.object(os, "write", self._marking(os.write)),
        ):
            sys.settrace(self._called)
            try:
                yield
            finally:
                sys.settrace(None)

    def _marking(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def marked(*args: Any) -> Any:
            self.effects.append(self.count)
            return write(*args)

        return marked

    def _called(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event != "call" or not frame.f_code.co_filename.startswith(_ROOT):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, _frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "opcode":
            self.count += 1
            if self.count == self._at:
                self._action()
        return self._step
