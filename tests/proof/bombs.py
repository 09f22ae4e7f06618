"""Small things that grow: every bomb is set off in a child with little memory and little time.

A bomb is a configuration file for the real command, an answer of the source, or a reply of a receiver. The
child is a fork with a limit on its address space and on its time; it must end by itself, with what the bomb
may come to: a normal answer, or errors of one line each (exit code 2 where it was the configuration). A
traceback, a ``MemoryError``, a signal or a flood of words is a defect.
"""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import msgspec

from tests.proof import bomb_answers, bomb_files
from tests.proof.bomb_files import CONFIG, Bomb
from tests.proof.spread import spread
from tests.proof.tally import Proof, Tally, Verdict

MEMORY = 320 * 2**20  # more than the child has already
CPU_S = 8
WALL_S = 40  # for a child that waits; nothing here takes a second of waiting
MOST_SAID = 2 * 2**20
_LONGEST_LINE = 3000


class Ended(msgspec.Struct, frozen=True):
    """How a child ended: its exit code, or less than zero the signal; and what it said."""

    code: int
    said: str


def in_child(work: Callable[[Path], int], *, memory: int = MEMORY, cpu_s: int = CPU_S) -> Ended:
    """Run ``work``, given a directory of its own, in a fork with little of everything."""
    place = Path(tempfile.mkdtemp(prefix="ntf-bomb-", dir="/tmp"))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            _be_the_child(work, place, memory, cpu_s)
        _, status = os.waitpid(pid, 0)
        return Ended(os.waitstatus_to_exitcode(status), (place / "said").read_text(errors="replace"))
    finally:
        shutil.rmtree(place)


def _be_the_child(work: Callable[[Path], int], place: Path, memory: int, cpu_s: int) -> None:
    code = 70
    try:
        faulthandler.disable()  # pytest's would write past the file
        file = os.open(place / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(WALL_S)
        code = work(place)
    except BaseException:  # noqa: BLE001 - the child's end is what is looked at
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def judge(ended: Ended, may_end: Collection[int]) -> Verdict:
    """What is wrong with this end."""
    wrong = []
    if ended.code < 0:
        wrong.append(f"was killed by {signal.Signals(-ended.code).name}: it hung, or ate all it could get")
    elif ended.code not in may_end:
        wrong.append(f"ended with {ended.code} instead of {sorted(may_end)}: {ended.said[-200:]!r}")
    if "Traceback" in ended.said or "MemoryError" in ended.said:
        wrong.append(f"failed unexpectedly: {ended.said.strip().splitlines()[-1][:200]}")
    lines = ended.said.splitlines()
    if len(ended.said) > MOST_SAID or any(len(line) > _LONGEST_LINE for line in lines):
        wrong.append(f"said {len(ended.said)} bytes, in lines of up to {max(map(len, lines))}")
    if ended.code == CONFIG and not all(line.startswith(("/", "warning:")) for line in lines):
        wrong.append(f"did not say where in the file it is: {ended.said[:200]!r}")
    return Verdict(broken=wrong)


def bombs() -> list[Bomb]:
    """All of them, by name; each is made only in the child."""
    return [*bomb_files.bombs(), *bomb_answers.bombs()]


def _piece(seed: int, names: Sequence[str]) -> Tally:
    tally = Tally()
    known = {bomb.name: bomb for bomb in bombs()}
    for name in names:
        bomb = known[name]
        tally.take(judge(in_child(bomb.go), bomb.may_end), f"bomb {name} (seed {seed})")
    return tally


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """Each bomb once; below scale 1 a choice of them."""
    names = [bomb.name for bomb in bombs()]
    random.Random(seed).shuffle(names)
    return spread(partial(_piece, seed), names[: max(1, round(len(names) * scale))], say, piece=10)


PROOF = Proof("bombs", "things that grow, in a child with little memory and time", ("P24", "P25"), run)
