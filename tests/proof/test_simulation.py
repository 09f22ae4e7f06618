"""The simulation at a small scale, that it is the same each time, and notifiers that it must find out."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from redis import Redis

from notifier.core.retry import Outcome, Verdict
from notifier.dispatcher import Dispatcher
from notifier.store.state import Lease, StateStore
from tests.proof.simulation import PROOF, TRIALS, Flaw, Trial
from tests.proof.simulation_parts import Kinds
from tests.proof.spread import quietly
from tests.support.servers import binaries, running_server

SEED = 0


def test_small_simulations_are_clean():
    tally = PROOF.run(12 / TRIALS, SEED, quietly)
    assert tally.is_clean, tally
    assert tally.trials == 12
    assert tally.faults > 10 * tally.trials
    assert tally.repeats > 0


_MET = {
    *("crash", "pause", "stop", "store forgot", "cut refused", "cut lost", "cut deaf", "cut slow"),
    *("fenced", "claims lost", "polls partial", "polls failed", "repeats", "mood throttling"),
}


def test_a_few_trials_meet_everything_that_they_are_meant_to_meet():
    missing = set(_MET)
    for seed in range(SEED, SEED + 24):
        trial = Trial(seed)
        trial.run()
        missing -= {what for what, count in trial.watch.counts.items() if count}
        if not missing:
            return
    pytest.fail(f"never met: {missing}")


def test_a_seed_gives_the_same_trial_to_the_last_request_whatever_ran_before():
    def digest(seed: int) -> str:
        trial = Trial(seed)
        trial.run()
        return trial.watch.digest

    first = digest(SEED)
    assert digest(SEED + 1) != first
    assert digest(SEED) == first
    program = (
        "from tests.proof.simulation import Trial\n"
        f"trial = Trial({SEED})\ntrial.run()\nprint(trial.watch.digest)"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "1"},  # of the order of sets of strings
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert other.stdout.strip() == first


def test_the_store_in_memory_answers_as_a_real_one():
    """All that a trial asks of it, up to the first answer with an id or a time of its own making."""
    asked: list[tuple[str, tuple[Any, ...], Any]] = []
    trial = Trial(SEED)
    call, script = trial.store.call, trial.store.script
    depth = 0

    def outermost(kind: str, do: Any) -> Any:
        def noted(*args: Any) -> Any:
            nonlocal depth
            depth += 1
            try:
                answer = do(*args)
            finally:
                depth -= 1
            if not depth:
                asked.append((kind, args, answer))
            return answer

        return noted

    trial.store.call = outermost("call", call)
    trial.store.script = outermost("script", script)
    trial.faults.forget = trial.faults.crash
    trial.faults.person = trial.faults.crash
    trial.run()
    compared = 0
    with running_server(binaries()["bundled"]) as path, Redis(unix_socket_path=path, protocol=2) as redis:
        redis.response_callbacks.clear()
        for kind, args, answer in asked:
            if kind == "script":
                text, keys, given = args
                assert redis.eval(text, len(keys), *keys, *given) == answer, text[:60]
            elif args[0] not in {"TIME", "XRANGE", "XREVRANGE", "HSCAN", "KEYS", "XLEN"}:
                assert _unordered(redis.execute_command(*args)) == _unordered(answer), args
            else:
                continue
            compared += 1
    assert compared > 1000


def _unordered(reply: Any) -> Any:
    """Hashes have no order."""
    return sorted(reply) if isinstance(reply, list) and None not in reply else reply


# --- notifiers with a guard taken out ---


class SettlesFirst(Dispatcher):
    """Notes as delivered what it is about to send."""

    async def _send_and_settle(self, held: Any) -> None:
        await self._settle(held.claim, Outcome(Verdict.DELIVERED), 0.0)
        await self._send(held)


class RetriesInMemory(Dispatcher):
    """Keeps what failed in the process, and takes it out of the lane."""

    async def _send_and_settle(self, held: Any) -> None:
        error, _ = await self._send(held)
        await self._settle(held.claim, Outcome(Verdict.DELIVERED), 0.0)
        while error is not None:
            await self._clock.sleep(60)
            error, _ = await self._send(msgspec.structs.replace(held, begin_before_s=math.inf))


class Together(Dispatcher):
    """Sends suspects of different sinks at the same time."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._suspicion = NoLock()


class NoLock(asyncio.Lock):
    async def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class OwnClock(StateStore):
    """Takes the lease by the wall clock of its machine."""

    async def take_lease(self, holder: str, ttl: timedelta) -> Lease | None:
        offset, self._offset_us = self._offset_us, None
        now_us = int(self._clock.now().timestamp() * 1_000_000)
        self._offset_us = now_us - int(self._clock.monotonic() * 1_000_000)
        try:
            return await super().take_lease(holder, ttl)
        finally:
            self._offset_us = offset


FENCE = "if lease[1] ~= fence or lease[2] ~= holder then return {'fenced'} end"
PAGE = "put(sink, 'page:' .. ARGV[entry + 1], ARGV[entry + 2])"
FLAWS = {
    "no fence": Flaw("commit", FENCE),
    "alerts that are not kept": Flaw("commit", "put(KEYS[6], ARGV[entry], ARGV[entry + 1])"),
    "messages that are not shown anew": Flaw(
        "commit", PAGE, f"if not redis.call('HGET', sink, 'page:' .. ARGV[entry + 1]) then {PAGE} end"
    ),
    "a claim without an end": Flaw("claim", "now + hold", "now + hold * 10000"),
    "settled before sent": Flaw(kinds=Kinds(dispatcher=SettlesFirst)),
    "suspects together": Flaw(kinds=Kinds(dispatcher=Together)),
    "retries in memory": Flaw(kinds=Kinds(dispatcher=RetriesInMemory)),
    "a lease by its own clock": Flaw(kinds=Kinds(store=OwnClock)),
    "a claim that counts for nothing": Flaw("claim", "(tonumber(claims) + 1)", "tonumber(claims)"),
    "a sink that is never left in peace": Flaw(
        "claim", "if paused > now then return {paused - now, failures, 0} end"
    ),
    "a rest that is not kept": Flaw("claim", "if next_at > now then return {next_at - now, failures, 0} end"),
    "a retry at once": Flaw(
        "settle", "keep_head(0, attempts, first, when)", "keep_head(0, attempts, first, now)"
    ),
}
_MOST_SEEDS = 12


@pytest.mark.parametrize("name", FLAWS)
def test_control_a_notifier_with_a_guard_taken_out_is_found_out(name: str):
    for seed in range(SEED, SEED + _MOST_SEEDS):
        verdict = Trial(seed, FLAWS[name]).run()
        if not verdict.is_good:
            return
    pytest.fail(f"{name}: not found out by the seeds {SEED} to {SEED + _MOST_SEEDS - 1}")
