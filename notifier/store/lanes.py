"""What is owed: lanes, claims, settling, dead letters, the health of sinks.

A lane is the FIFO of one ordering key at one sink. Any number of workers claim lanes that are due; a claim
ends by itself when its time has passed, so a dead worker's deliveries come back. Settling happens inside
the script that checks the claim: whoever lost it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from notifier.core.messages import Page
from notifier.core.retry import Outcome, Verdict
from notifier.errors import StoreUnfit
from notifier.models import UNREADABLE, Delivery, Owed, Posted, is_report
from notifier.store.client import translated
from notifier.store.formats import fresh_delivery, iso_of, microseconds, oldest_id
from notifier.store.health import FAILING_AFTER, FIELDS, SinkHealth, read_health
from notifier.store.keys import PAGE, POSTED, Keys
from notifier.store.pipelined import PipelinedScript
from notifier.store.scripts import Client, load

#: A claim outlives the attempt it is for by this much.
CLAIM_MARGIN = timedelta(seconds=5)
_RESUMED_AT_ONCE = 10_000  # lanes; more are rather left to their own time than block the server
_json = msgspec.json.Encoder()
_read_delivery = msgspec.json.Decoder(Delivery)


class Claim(msgspec.Struct, frozen=True):
    """One lane's first delivery, ours until the token's time has passed.

    ``claims`` counts claims in a row that began and were never settled, this one included. ``attempts`` and
    ``first_us`` (0: none yet) are of earlier, settled attempts. ``failures`` is the sink's count of rounds
    that failed in a row. ``may_repeat``: an earlier attempt may have been taken without our knowing.
    """

    sink: str
    key: str
    token: str
    delivery: Delivery
    claims: int
    attempts: int
    first_us: int
    failures: int
    may_repeat: bool = False


class Batch(msgspec.Struct, frozen=True):
    """Claims; how long until it is worth asking again (None: nothing waits); suspects that are due."""

    claims: tuple[Claim, ...]
    wait: timedelta | None
    suspects: int = 0


class Shown(msgspec.Struct, frozen=True):
    """A message at a sink: its page, where it was posted, and where the one before it was (None: nowhere)."""

    page: Page | None
    posted: Posted | None = None
    previous: Posted | None = None


class DeadLetter(msgspec.Struct, frozen=True):
    """A delivery that will not be tried again, and why."""

    key: str
    reason: str
    message: str
    attempts: int
    first_at: str
    at: str
    delivery: Delivery
    id: str = ""


class Lanes:
    """The lanes, dead letters and health of one deployment's sinks."""

    def __init__(self, redis: Client, keys: Keys, now_us: Callable[[], int], *, ledger: timedelta) -> None:
        self._redis = redis
        self._keys = keys
        self.now_us = now_us  # the store's time
        self._ledger = ledger
        self._claim = load(redis, "claim")
        self._settle = PipelinedScript(redis, load(redis, "settle"))
        self._replay = load(redis, "replay")
        self._resume = load(redis, "resume")
        self._enqueue = load(redis, "enqueue")
        self._drop = load(redis, "drop")

    # --- the dispatcher's side ---

    async def claim(
        self,
        sink: str,
        *,
        hold: timedelta,
        most: int,
        rate: float | None,
        suspected: int = 1_000_000,
        alone: bool = False,
        concurrency: int = 1_000_000,
    ) -> Batch:
        """Lanes that are due, each for one attempt of at most ``hold``.

        At most ``most`` for this worker, and no more than leave ``concurrency`` under way at all of them.
        A delivery with ``suspected`` claims in a row that were never settled is left where it is, and
        counted; with ``alone`` one of these is claimed, and nothing else.
        """
        gap = int(1_000_000 / rate) if rate else 0
        with translated("claiming"):
            wait, failures, suspects, *claimed = await self._claim(
                keys=[self._keys.lanes(sink), self._keys.sink(sink), self._keys.claims(sink)],
                args=[
                    self.now_us(),
                    microseconds(hold + CLAIM_MARGIN),
                    most,
                    gap,
                    suspected,
                    int(alone),
                    concurrency,
                ],
            )
        claims = tuple(_read_claim(sink, failures, *entry) for entry in claimed)
        return Batch(claims, None if wait < 0 else timedelta(microseconds=wait), suspects)

    async def shown(self, sink: str, delivery: Delivery) -> Shown:
        """The message that a delivery is a part of, as it is now."""
        fields = [PAGE + str(delivery.message), POSTED + str(delivery.message)]
        fields += [POSTED + delivery.previous] if delivery.previous else []
        with translated("reading a message"):
            page, *posted = await self._redis.hmget(self._keys.sink(sink), fields)
        try:
            found = [msgspec.json.decode(one, type=Posted) if one else None for one in posted]
            return Shown(msgspec.json.decode(page, type=Page) if page else None, *found)
        except msgspec.MsgspecError as error:
            raise StoreUnfit(f"a message in {self._keys.sink(sink)} cannot be read ({error})") from error

    async def settle(
        self,
        claim: Claim,
        outcome: Outcome,
        *,
        took_ms: int,
        posted: Posted | None = None,
        may_repeat: bool = False,
    ) -> bool:
        """End the claim as ``outcome`` says and write the ledger; False where the claim was lost.

        ``posted``: where the message now is that the delivery was a part of. ``may_repeat``: it may have been
        taken, so that the next attempt would say it again.
        """
        now = self.now_us()
        counts = outcome.verdict is not Verdict.HOLD  # a sink's fault does not use up a delivery's attempts
        attempts = claim.attempts + counts
        first_us = claim.first_us or now
        record = {
            "at": iso_of(now),
            "sink": claim.sink,
            "key": claim.key,
            "id": claim.delivery.id,
            "type": claim.delivery.type,
            "attempt": claim.attempts + 1,
            "outcome": outcome.verdict,
            "reason": outcome.reason,
            "status": outcome.status,
            "ms": took_ms,
        }
        if outcome.place:
            record["place"] = outcome.place
        letter = b""
        if outcome.verdict is Verdict.DEAD:
            letter = _json.encode(
                DeadLetter(
                    claim.key,
                    outcome.reason,
                    outcome.message,
                    attempts,
                    iso_of(first_us),
                    iso_of(now),
                    claim.delivery,
                )
            )
        return await self._end(
            claim,
            outcome.verdict,
            next_us=now + microseconds(outcome.delay),
            counters=(attempts, f"{first_us} 1" if may_repeat else str(first_us)),
            said=(outcome.reason, outcome.message),
            records=(_json.encode(record), letter, b"" if is_report(claim.delivery.type) else b"1"),
            rest=outcome.rest,
            probe=outcome.probe,
            posted=posted,
        )

    async def release(self, claim: Claim) -> bool:
        """Give a claim back unused: the lane is due again, and nothing counts."""
        return await self._end(
            claim,
            "release",
            next_us=0,
            counters=(claim.attempts, str(claim.first_us)),
            said=("", ""),
            records=(b"", b"", b""),
            rest=timedelta(),
        )

    async def _end(
        self,
        claim: Claim,
        verdict: str,
        *,
        next_us: int,
        counters: tuple[int, str],
        said: tuple[str, str],
        records: tuple[bytes, bytes, bytes],
        rest: timedelta,
        probe: timedelta = timedelta(),
        posted: Posted | None = None,
    ) -> bool:
        now = self.now_us()
        sink = claim.sink
        with translated("settling"):
            answer = await self._settle(
                keys=[
                    self._keys.lanes(sink),
                    self._keys.sink(sink),
                    self._keys.attempts,
                    self._keys.dead(sink),
                    self._keys.claims(sink),
                ],
                args=[
                    claim.key,
                    claim.token,
                    verdict,
                    now,
                    next_us & ~1,
                    *counters,
                    FAILING_AFTER,
                    oldest_id(now, self._ledger),
                    claim.failures,
                    *said,
                    *records,
                    now + microseconds(rest) if rest else 0,
                    POSTED + str(claim.delivery.message) if posted else "",
                    _json.encode(posted) if posted else "",
                    now + microseconds(probe) if probe else 0,
                ],
            )
        return bool(answer == b"settled")

    # --- the operator's side ---

    async def health(self, sink: str) -> SinkHealth:
        """How a sink stands."""
        lanes = self._keys.lanes(sink)
        with translated("reading a sink's health"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(self._keys.sink(sink), FIELDS)
                pipe.zcard(lanes)
                pipe.xlen(self._keys.dead(sink))
                pipe.zrange(lanes, 0, 0, withscores=True)
                fields, waiting, dead, first = await pipe.execute()
        try:
            return read_health(fields, waiting, dead, first, self.now_us())
        except (ValueError, OverflowError, OSError) as error:
            raise StoreUnfit(
                f"what the store knows of the sink {sink} cannot be read ({error}); somebody else wrote to "
                f"{self._keys.sink(sink)} or {lanes}"
            ) from error

    async def switch_off(self, sink: str, why: str) -> None:
        """An operator pauses a sink: it keeps everything and sends nothing."""
        with translated("pausing a sink"):
            await self._redis.hset(self._keys.sink(sink), "off", why)

    async def switch_on(self, sink: str) -> None:
        """Undo :meth:`switch_off`, and try a sink that was paused for a fault at once."""
        with translated("resuming a sink"):
            await self._resume(
                keys=[self._keys.lanes(sink), self._keys.sink(sink)], args=[self.now_us(), _RESUMED_AT_ONCE]
            )

    async def known_sinks(self) -> set[str]:
        """Every sink that this deployment holds lanes or dead letters of, configured or not."""
        found = set()
        for mark in ("lanes:", "dead:"):
            start = self._keys.prefix + mark
            with translated("listing sinks"):
                async for key in self._redis.scan_iter(match=_literal(start) + "*", count=1000):
                    found.add(key.decode()[len(start) :])
        return found

    async def drop(self, sink: str) -> int:
        """Forget a sink with everything that it is owed; how many lanes that were."""
        keys = self._keys
        with translated("dropping a sink"):
            return int(
                await self._drop(keys=[keys.lanes(sink), keys.sink(sink), keys.dead(sink), keys.claims(sink)])
            )

    async def dead_letters(self, sink: str, *, after: str = "-", most: int = 1000) -> list[DeadLetter]:
        """Dead letters, oldest first; ``after`` is the id of the last one already read."""
        start = after if after == "-" else f"({after}"
        with translated("reading dead letters"):
            entries = await self._redis.xrange(self._keys.dead(sink), min=start, count=most)
        return [_read_letter(id_, fields) for id_, fields in entries]

    async def dead_letter(self, sink: str, id_: str) -> DeadLetter | None:
        """One dead letter."""
        with translated("reading a dead letter"):
            entries = await self._redis.xrange(self._keys.dead(sink), min=id_, max=id_)
        return _read_letter(*entries[0]) if entries else None

    async def replay(self, sink: str, letters: Sequence[DeadLetter]) -> int:
        """Put dead letters back into their lanes, in the order given; how many were still there."""
        args: list[Any] = [self.now_us()]
        for letter in letters:
            args += (letter.id, letter.key, fresh_delivery(letter.delivery))
        with translated("replaying"):
            return int(await self._replay(keys=[self._keys.dead(sink), self._keys.lanes(sink)], args=args))

    async def enqueue(self, sink: str, owed: Sequence[Owed], version: str = "") -> bool:
        """Owe a sink these, behind what waits; False where the state is not at this version any more."""
        args: list[Any] = [self.now_us(), version]
        for one in owed:
            args += (one.key, fresh_delivery(one.delivery))
        with translated("enqueuing"):
            answer = await self._enqueue(keys=[self._keys.meta, self._keys.lanes(sink)], args=args)
        return bool(answer == b"owed")

    async def drop_dead(self, sink: str, ids: Sequence[str]) -> int:
        """Forget dead letters; how many were still there."""
        with translated("dropping dead letters"):
            return int(await self._redis.xdel(self._keys.dead(sink), *ids)) if ids else 0

    async def attempts(self, *, newest: int) -> list[dict[str, Any]]:
        """The newest attempts of the ledger, newest first."""
        with translated("reading the ledger"):
            entries = await self._redis.xrevrange(self._keys.attempts, count=newest)
        return [msgspec.json.decode(fields[b"attempt"]) for _, fields in entries]


def _read_claim(sink: str, failures: int, key: bytes, token: bytes, value: bytes) -> Claim:
    head, _, text = value.partition(b"\n")
    try:
        claims, attempts, first_us, *unsure = map(int, head.split())
        iso_of(first_us)  # a dead letter tells it
        delivery = _read_delivery.decode(text)
    except (ValueError, OverflowError, OSError, RecursionError, msgspec.MsgspecError):
        claims, attempts, first_us, unsure = 1, 0, 0, []
        delivery = Delivery("", UNREADABLE, "", value.decode(errors="replace"))
    name = key.decode(errors="replace")
    may_repeat = claims > 1 or bool(unsure)
    return Claim(sink, name, token.decode(), delivery, claims, attempts, first_us, failures, may_repeat)


def _read_letter(id_: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    letter = msgspec.json.decode(fields[b"letter"], type=DeadLetter)
    return msgspec.structs.replace(letter, id=id_.decode())


def _literal(pattern: str) -> str:
    """``pattern`` with the characters escaped that SCAN would take for a glob."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in pattern)
