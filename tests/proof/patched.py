"""A notifier with a bug, and what a proof finds out about it.

The bugs are patches in ``bugs/``: mistakes of design that other notifiers were built with. A patch is applied
to a copy of ``notifier/``, and the proof runs in a process that has the copy in place of the original.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tests.proof.tally import Tally

ROOT = Path(__file__).parents[2]
BUGS = {path.stem: path for path in sorted((Path(__file__).parent / "bugs").glob("*.patch"))}
WITHIN_S = 110  # less than the time that a test has
_CODE = """
import msgspec, notifier, pathlib
assert notifier.__file__.startswith({tree!r}), notifier.__file__
{code}
pathlib.Path({found!r}).write_bytes(msgspec.json.encode(tally))
"""


@contextmanager
def patched_tree(bug: str) -> Iterator[Path]:
    """A directory with the tests, and with a copy of ``notifier/`` that has the bug."""
    with TemporaryDirectory(prefix="ntf-bug-", dir="/tmp") as directory:
        tree = Path(directory)
        shutil.copytree(ROOT / "notifier", tree / "notifier")
        (tree / "tests").symlink_to(ROOT / "tests")
        subprocess.run(["git", "apply", str(BUGS[bug])], cwd=tree, check=True, env=_outside_of_git(tree))
        yield tree


def tally_with(bug: str, code: str) -> Tally:
    """The ``tally`` that ``code`` assigns, with the bug in place; nothing that it started runs on after it."""
    with patched_tree(bug) as tree:
        found = tree / "tally.json"  # not a line of its output, where a slow proof tells how far it is
        process = subprocess.Popen(
            [sys.executable, "-c", _CODE.format(tree=str(tree), code=code, found=str(found))],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            start_new_session=True,
        )
        try:
            process.wait(timeout=WITHIN_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.returncode == 0, f"the proof itself failed with {process.returncode}"
        return msgspec.json.decode(found.read_bytes(), type=Tally)


def _outside_of_git(tree: Path) -> dict[str, str]:
    """Without this ``git apply`` takes paths from the root of a repository around the tree, if there is one."""
    return os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
