"""What the poller keeps: state, alerts, meta, history, lease, inbox. One writer, by one script.

:meth:`StateStore.commit` is the only write of state. It takes the version that the change was made from and
the lease it was made under, and either everything in it happened or nothing did. A commit whose reply was
lost is sent again under the same id and gets the old answer.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from notifier.clock import Clock
from notifier.core.alerts import Alert
from notifier.core.digests import Standing
from notifier.core.durations import Pair, Seconds
from notifier.core.messages import Message, Page
from notifier.core.past import Record
from notifier.core.quiet import Silence
from notifier.core.removals import Held
from notifier.errors import LeaseLost, StateMoved, StoreUnavailable, StoreUnfit
from notifier.models import Owed
from notifier.store.client import translated
from notifier.store.formats import fresh_delivery, microseconds, oldest_id
from notifier.store.keys import PAGE, Keys
from notifier.store.scripts import Client, load

SCHEMA = 1
_FAR = timedelta(minutes=10)  # no lease ends so far ahead
_TRIES = 3  # of a commit whose reply was lost: the id makes them one
_json = msgspec.json.Encoder()
_read_alert = msgspec.json.Decoder(Alert)
_read_page = msgspec.json.Decoder(Page)
_read_pair = msgspec.json.Decoder(Pair)
_read_seconds = msgspec.json.Decoder(Seconds)
_log = structlog.get_logger()
_read_record = msgspec.json.Decoder(Record)
_READ_AT_ONCE = 500  # events of the history


class Meta(msgspec.Struct, frozen=True):
    """The hash ``meta``. ``version`` is the id of the last commit ('' before the first).

    ``epoch`` is '' while a baseline is under way, and ``baseline`` says why it is. ``counts`` maps a kind
    (and ``tombstone``) to how many the state holds. ``complete_at`` is when the last Complete snapshot began.
    ``told`` is what the notifier last said of itself, by report type. ``forgotten_revision`` is the highest
    revision of anything that was forgotten: what is new begins above it, so that no event's id comes twice.
    ``watched`` maps the name of each ``while`` rule that has had its first look to what it asked for then,
    ``digests`` the name of each digest to what was told of it.
    """

    version: str = ""
    schema: int = SCHEMA
    epoch: str = ""
    baseline: str = ""
    base_url: str = ""
    api_version: str = ""
    counts: dict[str, int] = {}
    complete_at: str | None = None
    held: Held | None = None
    told: dict[str, Any] = {}
    words: list[Any] = []
    forgotten_revision: int = 0
    watched: dict[str, str] = {}
    digests: dict[str, Standing] = {}


class Commit(msgspec.Struct, frozen=True):
    """One chunk of a poll. An alert or silence that is None goes.

    ``meta`` holds the fields of :class:`Meta` to set.
    ``pages`` maps the sink and id of a message to the text of its page; '' goes.
    """

    meta: Mapping[str, Any] = {}
    states: Mapping[str, bytes] = {}
    forgotten: Sequence[str] = ()
    alerts: Mapping[str, Alert | None] = {}
    silences: Mapping[str, Silence | None] = {}
    durations: Mapping[Pair, Seconds] = {}
    pages: Mapping[tuple[str, str], str] = {}
    history: Sequence[str] = ()
    owed: Sequence[Owed] = ()
    inbox_upto: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not any(getattr(self, name) for name in self.__struct_fields__)


class Lease(msgspec.Struct, frozen=True):
    """The fence of a poller: the lease's number and the random id of its holder."""

    number: int
    holder: str


class InboxEntry(msgspec.Struct, frozen=True):
    """Something a person wrote: ``what`` is ``approve``, ``value`` its JSON."""

    id: str
    what: str
    value: Any


class StateStore:
    """The state of one deployment."""

    def __init__(self, redis: Client, keys: Keys, clock: Clock, *, history: timedelta) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._history = history
        self._offset_us: int | None = None
        self._commit = load(redis, "commit")
        self._lease = load(redis, "lease")

    # --- time ---

    async def sync_time(self) -> None:
        """Measure the store's clock against this machine's monotonic one, half the trip off at most."""
        asked = self._clock.monotonic()
        with translated("TIME"):
            seconds, micros = await self._redis.time()
        middle = (asked + self._clock.monotonic()) / 2
        self._offset_us = seconds * 1_000_000 + micros - int(middle * 1_000_000)

    def now_us(self) -> int:
        """The store's time in microseconds, even (see claim.lua); a worker's wrong clock does not matter."""
        if self._offset_us is None:
            raise StoreUnavailable("the store's time is not known yet")
        return int(self._clock.monotonic() * 1_000_000) + self._offset_us & ~1

    def now(self) -> datetime:
        """The store's time."""
        return datetime.fromtimestamp(self.now_us() / 1_000_000, UTC)

    # --- lease ---

    async def take_lease(self, holder: str, ttl: timedelta) -> Lease | None:
        """Take or renew the lease; None while another worker holds it.

        A lease that ends far ahead is from before the store's clock was set back, if this is not merely a
        request that comes late: so the time is measured anew before it is taken.
        """
        far = max(_FAR, 10 * ttl)
        number, wait_us = await self._ask_lease(holder, ttl)
        if not number and wait_us > microseconds(far):
            await self.sync_time()
            number, _ = await self._ask_lease(holder, ttl, far)
        return Lease(number, holder) if number else None

    async def _ask_lease(self, holder: str, ttl: timedelta, far: timedelta = timedelta()) -> tuple[int, int]:
        with translated("taking the lease"):
            number, wait_us = await self._lease(
                keys=[self._keys.lease, self._keys.meta],
                args=[holder, self.now_us(), microseconds(ttl), microseconds(far)],
            )
        return number, wait_us

    async def give_back_lease(self, holder: str) -> None:
        """Let another worker poll at once."""
        with translated("giving back the lease"):
            await self._lease(keys=[self._keys.lease, self._keys.meta], args=[holder, self.now_us(), 0, 0])

    # --- reading ---

    async def meta(self) -> Meta:
        """The deployment's meta; a new one where there is none."""
        with translated("reading meta"):
            fields = await self._redis.hgetall(self._keys.meta)
        return _read_meta(fields)

    async def size(self) -> int:
        """How many connections the state holds, tombstones included."""
        with translated("reading the state's size"):
            return int(await self._redis.hlen(self._keys.state))

    async def states(self, ids: Sequence[str]) -> list[bytes | None]:
        """The encoded states of these connections."""
        if not ids:
            return []
        with translated("reading states"):
            return list(await self._redis.hmget(self._keys.state, list(ids)))

    async def all_states(self) -> AsyncIterator[tuple[str, bytes]]:
        """Every connection's encoded state, in no order; one that changes meanwhile may come twice."""
        cursor = 0
        while True:
            with translated("reading the state"):
                cursor, batch = await self._redis.hscan(self._keys.state, cursor, count=1000)
            for id_, value in batch.items():
                yield id_.decode(), value
            if cursor == 0:
                return

    async def alerts(self) -> dict[str, Alert]:
        """Every alert, by its key."""
        with translated("reading alerts"):
            found = await self._redis.hgetall(self._keys.alerts)
        try:
            return {key.decode(): _read_alert.decode(value) for key, value in found.items()}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreUnfit(
                f"the hash alerts of this deployment cannot be read ({error}); somebody else wrote to it. "
                "Restore it, or delete it: alerts that are open are then told anew"
            ) from error

    async def silences(self) -> dict[str, Silence]:
        """Every silence, by its id."""
        with translated("reading silences"):
            found = await self._redis.hgetall(self._keys.silences)
        try:
            return {id_.decode(): msgspec.json.decode(value, type=Silence) for id_, value in found.items()}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreUnfit(
                f"the hash silences of this deployment cannot be read ({error}); somebody else wrote to it. "
                "Delete it, and silence again what is to be silent"
            ) from error

    async def durations(self) -> dict[Pair, Seconds]:
        """How long statuses lasted, by carrier and status; what cannot be read is left out."""
        with translated("reading durations"):
            found = await self._redis.hgetall(self._keys.durations)
        known = {}
        for field, value in found.items():
            try:
                known[_read_pair.decode(field)] = _read_seconds.decode(value)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # it only says what was usual
                _log.warning("durations.unreadable", error=str(error))
        return known

    async def messages(self, sinks: Sequence[str]) -> list[Message]:
        """Every message about alerts at these sinks."""
        found = []
        for sink in sinks:
            key = self._keys.sink(sink)
            with translated("reading messages"):
                async for field, value in self._redis.hscan_iter(key, match=f"{PAGE}*", count=1000):
                    found.append(_read_message(key, field, value))
        return found

    async def history(self, *, newest: int) -> list[dict[str, Any]]:
        """The newest events of the history, newest first."""
        with translated("reading the history"):
            entries = await self._redis.xrevrange(self._keys.history, count=newest)
        return [msgspec.json.decode(fields[b"event"]) for _, fields in entries]

    async def records(self, since: str, *, most: int) -> AsyncIterator[Record]:
        """The events of the history after ``since``, newest first, at most so many.

        ``since`` is a moment of a poll, which all its events tell. What cannot be read is left out.
        """
        end, left = "+", most
        while left > 0:
            with translated("reading the history"):
                entries = await self._redis.xrevrange(
                    self._keys.history, max=end, count=min(left, _READ_AT_ONCE)
                )
            for id_, fields in entries:
                record = _readable_record(fields)
                if record is not None and record.timestamp <= since:
                    return
                if record is not None:
                    yield record
                left -= 1
                end = f"({id_.decode()}"
            if not entries:
                return

    # --- writing ---

    async def commit(self, lease: Lease, expected: str, change: Commit) -> str:
        """Write ``change`` if the lease is still held and the version still ``expected``; the new version.

        Raises ``LeaseLost`` or ``StateMoved`` where nothing was written, ``StoreUnavailable`` where nobody
        knows: then the next reading of the version tells.
        """
        version = secrets.token_hex(12)
        args = self._commit_args(lease, expected, version, change)
        names = self._keys
        hashes = [names.meta, names.lease, names.state]
        keys = [*hashes, names.history, names.inbox, names.alerts, names.silences, names.durations]
        answer, *rest = await self._commit_patiently(keys, args)
        if answer == b"fenced":
            raise LeaseLost("another worker polls now; nothing of this poll was committed")
        if answer == b"moved":
            raise StateMoved(
                f"the state is at version {rest[0].decode() or '(none)'}, not at {expected or '(none)'}"
            )
        return version

    async def _commit_patiently(self, keys: list[str], args: list[Any]) -> Any:
        """The script's answer; asked again where a reply was lost, which the commit's id makes safe."""
        tries = 0
        while True:
            tries += 1
            try:
                with translated("committing"):
                    return await self._commit(keys=keys, args=args)
            except StoreUnavailable:
                if tries >= _TRIES:
                    raise
                await self._clock.sleep(0.1)

    def _commit_args(self, lease: Lease, expected: str, version: str, change: Commit) -> list[Any]:
        now = self.now_us()
        oldest = oldest_id(now, self._history)
        args: list[Any] = [lease.number, lease.holder, expected, version, now, oldest, change.inbox_upto]
        fields = {"schema": SCHEMA, **change.meta} if not expected else change.meta
        args.append(len(fields))
        for name, value in fields.items():
            args += (name, _json.encode(value))
        args.append(len(change.states))
        for id_, state in change.states.items():
            args += (id_, state)
        args += (len(change.forgotten), *change.forgotten)
        args.append(len(change.alerts))
        for key, alert in change.alerts.items():
            args += (key, "" if alert is None else _json.encode(alert))
        args.append(len(change.silences))
        for id_, silence in change.silences.items():
            args += (id_, "" if silence is None else _json.encode(silence))
        args.append(len(change.durations))
        for pair, seconds in change.durations.items():
            args += (_json.encode(pair), _json.encode(seconds))
        args.append(len(change.pages))
        for (sink, id_), text in change.pages.items():
            args += (sink, id_, text)
        args += (len(change.history), *change.history)
        args.append(len(change.owed))
        for owed in change.owed:
            args += (owed.sink, owed.key, fresh_delivery(owed.delivery))
        return args

    # --- inbox ---

    async def write_inbox(self, what: str, value: Any) -> None:
        """Leave something for the next commit to apply."""
        with translated("writing to the inbox"):
            await self._redis.xadd(self._keys.inbox, {"what": what, "value": _json.encode(value)})

    async def inbox(self) -> list[InboxEntry]:
        """What people wrote and no commit has applied yet, oldest first."""
        with translated("reading the inbox"):
            entries = await self._redis.xrange(self._keys.inbox)
        return [_read_inbox(id_.decode(), fields) for id_, fields in entries]


def _read_meta(fields: Mapping[bytes, bytes]) -> Meta:
    known = {name.encode(): name for name in Meta.__struct_fields__ if name != "version"}
    try:
        raw: dict[str, Any] = {"version": fields.get(b"version", b"").decode()}
        for field, value in fields.items():
            if field in known:
                raw[known[field]] = msgspec.json.decode(value)
        return msgspec.convert(raw, Meta)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise StoreUnfit(
            f"the hash meta of this deployment cannot be read ({error}); somebody else wrote to it. "
            "Restore it, or delete it to take a new baseline"
        ) from error


def _read_message(key: str, field: bytes, value: bytes) -> Message:
    try:
        return _read_page.decode(value).message
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreUnfit(
            f"the field {field.decode(errors='replace')} of {key} cannot be read ({error}); somebody else "
            "wrote to it. Restore it, or delete it: what it told of is then told in a new message"
        ) from error


def _readable_record(fields: Mapping[bytes, bytes]) -> Record | None:
    try:
        return _read_record.decode(fields[b"event"])
    except (KeyError, msgspec.MsgspecError):
        return None


def _read_inbox(id_: str, fields: Mapping[bytes, bytes]) -> InboxEntry:
    try:
        return InboxEntry(id_, fields[b"what"].decode(), msgspec.json.decode(fields[b"value"]))
    except (KeyError, UnicodeDecodeError, msgspec.DecodeError):
        return InboxEntry(id_, "unreadable", None)  # not ours; the next commit removes it
