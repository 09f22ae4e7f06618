import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.sandbox import lifecycle
from notifier.sandbox.build import build_world
from notifier.sandbox.lifecycle import GROUP_STEPS, MILESTONE_STEPS, MILESTONES
from notifier.sandbox.names import employer_name
from notifier.sandbox.world import World

ID = re.compile(r"(conn|gcon|cevt|er|carr)_[-_A-Za-z0-9]{21}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
START = datetime(2026, 11, 23, 22, 1, 7, 93833, tzinfo=UTC)


class TickingClock:
    """A second later whenever it is asked."""

    def __init__(self):
        self.moment = START

    def now(self):
        self.moment += timedelta(seconds=1)
        return self.moment

    def monotonic(self):
        return (self.moment - START).total_seconds()

    async def sleep(self, seconds):
        self.moment += timedelta(seconds=seconds)


def entities(world):
    """Kind, id -> the entity without what is under it."""
    found = {}
    for connection in world.connections():
        found["connection", connection["id"]] = {
            name: value for name, value in connection.items() if name not in {"group_connections", "events"}
        }
        for kind, name in (("group_connection", "group_connections"), ("milestone", "events")):
            found |= {(kind, item["id"]): item for item in connection[name]}
    return found


def folded(state, journal):
    """The state after everything in the journal happened to it."""
    state = {key: dict(value) for key, value in state.items()}
    owners = {}
    for entry in journal:
        owners[entry.kind, entry.id] = entry.connection
        if entry.is_removed:
            del state[entry.kind, entry.id]
            if entry.kind == "connection":
                gone = {key for key, value in state.items() if value.get("connection") == entry.id}
                gone |= {key for key, owner in owners.items() if owner == entry.id}
                state = {key: value for key, value in state.items() if key not in gone}
            continue
        entity = state.setdefault((entry.kind, entry.id), {"id": entry.id})
        assert entity.get("status") == entry.from_status
        entity["status"] = entry.to_status
        for name, (old, new) in entry.changed.items():
            assert entity.get(name) == old
            entity[name] = new
    return state


def without_nulls(state):
    return {
        key: {name: value for name, value in entity.items() if value is not None}
        for key, entity in state.items()
    }


@given(seed=st.integers(0, 2**32), connections=st.integers(0, 8), steps=st.integers(0, 120))
@settings(max_examples=60, deadline=None)
def test_only_legal_things_happen_and_the_journal_tells_all_of_them(seed, connections, steps):
    world = build_world(seed=seed, clock=TickingClock(), connections=connections)
    before = entities(world)
    milestones_of = {c["id"]: [event["id"] for event in c["events"]] for c in world.connections()}
    assert world.journal == []
    for _ in range(steps):
        assert world.step(), "every step is a change"
    for entry in world.journal:
        legal = {"group_connection": GROUP_STEPS, "milestone": MILESTONE_STEPS}.get(entry.kind)
        if legal is None or entry.from_status == entry.to_status:
            continue
        if entry.from_status is None:
            first = MILESTONES[entry.changed["category"][1]] if entry.kind == "milestone" else "pending"
            assert entry.to_status == first
        else:
            assert entry.to_status in legal[entry.from_status]
    after = folded(before, world.journal)
    for entry in world.journal:
        if entry.kind == "connection" and entry.is_removed:
            for id_ in milestones_of.get(entry.connection, ()):
                after.pop(("milestone", id_), None)
    assert without_nulls(after) == without_nulls(entities(world))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_connection_is_plausible_at_every_age(seed):
    world = build_world(seed=seed, clock=TickingClock(), connections=10)
    for _ in range(30):
        world.step()
    for connection in world.connections():
        categories = [event["category"] for event in connection["events"]]
        assert categories == list(MILESTONES)[: len(categories)]
        assert categories
        assert all(event["status"] == "completed" for event in connection["events"][:-1])
        link = next((e for e in connection["events"] if e["category"] == "broker_link_generated"), None)
        assert (connection["broker_url"] is not None) == (link is not None and link["status"] == "completed")
        statuses = {group["status"] for group in connection["group_connections"]}
        if "carrier_details_submitted" not in categories:
            assert statuses == {"pending"}
        if "carrier_sync_completed" in categories:
            assert statuses == {"completed"}
        for group in connection["group_connections"]:
            assert (group["initiated_at"] is None) == (group["status"] == "pending")
            assert (group["completed_at"] is not None) == (group["status"] == "completed")
            assert group["connection"] == connection["id"]
            assert world.carrier(group["carrier"])["legal_name"]
        assert (connection["status"] == "completed") == (not lifecycle.moves(connection))


def test_has_the_shape_of_the_api():
    world = build_world(seed=1, clock=TickingClock(), connections=40)
    for connection in world.connections():
        assert list(connection) == ["id", "broker_url", "employer", "group_connections", "events", "status"]
        assert 1 <= len(connection["group_connections"]) <= 5
        children = [*connection["group_connections"], *connection["events"]]
        assert all(ID.fullmatch(item["id"]) for item in [connection, *children])
        assert ID.fullmatch(connection["employer"])
        for group in connection["group_connections"]:
            assert set(group) == {
                "id", "carrier", "status", "broker_federal_ein", "group_id", "connection", "initiated_at", "completed_at",
            }  # fmt: skip
            assert group["broker_federal_ein"] is None or len(group["broker_federal_ein"]) == 10
        for event in connection["events"]:
            assert list(event) == ["id", "category", "status", "created_at"]
            assert MOMENT.fullmatch(event["created_at"])
            assert datetime.fromisoformat(event["created_at"]) < START + timedelta(days=1)


def test_the_same_seed_makes_the_same_world_and_the_same_life():
    one, other = (build_world(seed=7, clock=TickingClock(), connections=9) for _ in range(2))
    for world in (one, other):
        for _ in range(50):
            world.step()
    assert one.journal == other.journal
    assert [one.text(id_) for id_ in one.ids()] == [other.text(id_) for id_ in other.ids()]
    assert build_world(seed=8, clock=TickingClock(), connections=9).ids() != one.ids()


def test_keeps_its_size_however_long_it_lives():
    world = build_world(seed=3, clock=TickingClock(), connections=6)
    sizes = set()
    for _ in range(3000):
        world.step()
        sizes.add(len(world))
    assert max(sizes) <= 6 + 30
    assert min(sizes) >= 5
    assert any(entry.is_removed and entry.kind == "connection" for entry in world.journal)


def test_a_large_world_has_the_documented_proportions_and_no_id_twice():
    world = build_world(seed=5, clock=TickingClock(), connections=5000)
    connections = list(world.connections())
    assert len(connections) == len(world) == 5000
    groups = [group for connection in connections for group in connection["group_connections"]]
    events = [event for connection in connections for event in connection["events"]]
    assert 2.8 < len(groups) / 5000 < 3.2
    assert 5.2 < len(events) / 5000 < 5.8
    assert 1500 < sum(len(world.text(id_)) for id_ in world.ids()) / 5000 < 1900
    ids = [item["id"] for item in [*connections, *groups, *events]] + [
        item["employer"] for item in connections
    ]
    assert len(set(ids)) == len(ids)
    assert all(ID.fullmatch(id_) for id_ in ids)
    assert all(g["connection"] == c["id"] for c in connections for g in c["group_connections"])
    assert world.employer(connections[-1]["employer"])["id"] == connections[-1]["employer"]
    assert world.step()


def test_employers_have_names_of_their_own():
    names = [employer_name(number) for number in range(5000)]
    assert names[0] == "Acme Corp"
    assert len(set(names)) == len(names)


def test_an_employer_is_the_same_whenever_it_is_asked_for():
    world = build_world(seed=1, clock=TickingClock(), connections=3)
    id_ = world.connection(world.ids()[0])["employer"]
    assert world.employer(id_) == world.employer(id_)
    assert {"legal_name", "trade_name", "external_id", "federal_ein", "address"} < set(world.employer(id_))


@given(seed=st.integers(0, 2**32), connections=st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_trouble_is_always_to_be_had_and_legal(seed, connections):
    world = build_world(seed=seed, clock=TickingClock(), connections=connections)
    connection, group = world.trouble()
    found = lifecycle.child(world.connection(connection)["group_connections"], group)
    assert found["status"] == "needs_attention"
    assert world.connection(connection)["status"] == "needs_attention"
    steps = [(e.from_status, e.to_status) for e in world.journal if e.id == group and e.from_status]
    assert steps in (
        [("processing", "needs_attention")],
        [("pending", "processing"), ("processing", "needs_attention")],
    )


def test_what_is_held_is_left_alone():
    world = build_world(seed=2, clock=TickingClock(), connections=1)
    id_, _ = world.trouble()
    text = world.text(id_)
    world.hold(id_)
    for _ in range(100):
        world.step()
    assert world.text(id_) == text
    world.release(id_)
    for _ in range(300):
        world.step()
    assert id_ not in world or world.text(id_) != text


def test_changes_by_hand_are_in_the_journal():
    world = World(seed=1, clock=TickingClock())
    id_ = world.add_connection(groups=2)
    group = world.connection(id_)["group_connections"][0]["id"]
    assert [entry.kind for entry in world.journal] == [
        "connection",
        "group_connection",
        "group_connection",
        "milestone",
    ]

    [parent, entry] = world.set_group_status(id_, group, "needs_attention")
    assert (entry.kind, entry.id, entry.connection) == ("group_connection", group, id_)
    assert (entry.from_status, entry.to_status) == ("pending", "needs_attention")
    assert list(entry.changed) == ["initiated_at"]
    assert (parent.kind, parent.to_status) == ("connection", "needs_attention")

    [alone] = world.set_group_status(id_, group, "no_such_status", follow=False)
    assert alone.to_status == "no_such_status"
    assert world.connection(id_)["status"] == "needs_attention"

    [milestone] = [
        e for e in world.add_milestone(id_, "payroll_accessed", "pending") if e.kind == "milestone"
    ]
    assert milestone.from_status is None
    [done] = [e for e in world.set_milestone_status(id_, milestone.id, "completed") if e.kind == "milestone"]
    assert (done.from_status, done.to_status) == ("pending", "completed")
    added = world.add_group(id_, follow=False)
    assert (world.journal[-1].kind, world.journal[-1].id) == ("group_connection", added)
    [gone] = world.remove_child(id_, added, follow=False)
    assert gone.is_removed
    assert [e.to_status for e in world.set_status(id_, {"any": "value"})] == [{"any": "value"}]
    [removed] = world.remove_connection(id_)
    assert (removed.kind, removed.to_status, removed.is_removed) == ("connection", None, True)
    assert len(world) == 0
    assert without_nulls(folded({}, world.journal)) == {}


def test_a_change_that_changes_nothing_is_not_in_the_journal():
    world = build_world(seed=1, clock=TickingClock(), connections=1)
    [id_] = world.ids()
    assert world.change(id_, lambda connection: connection["events"].reverse(), follow=False) == []
    assert json.loads(world.text(id_))["events"][-1]["category"] == "initial_connection"


@pytest.mark.parametrize("mutate", [
    lambda w, id_: w.set_group_status(id_, "gcon_none", "completed"),
    lambda w, id_: w.set_milestone_status(id_, "cevt_none", "completed"),
    lambda w, id_: w.remove_child(id_, "cevt_none"),
    lambda w, _: w.remove_connection("conn_none"),
    lambda w, _: w.set_status("conn_none", "review"),
])  # fmt: skip
def test_an_unknown_id_is_an_error_and_changes_nothing(mutate):
    world = build_world(seed=1, clock=TickingClock(), connections=1)
    [id_] = world.ids()
    text = world.text(id_)
    with pytest.raises(KeyError):
        mutate(world, id_)
    assert world.text(id_) == text
    assert world.journal == []


@pytest.mark.parametrize("status", [7, None, ["processing"], {"code": 3}])
def test_lives_on_with_values_that_no_enum_has(status):
    world = build_world(seed=1, clock=TickingClock(), connections=2)
    for connection in world.connections():
        id_ = connection["id"]
        world.set_group_status(id_, connection["group_connections"][0]["id"], status)
        world.set_milestone_status(id_, connection["events"][0]["id"], status)
        world.change(id_, lambda found: found.update(added_later=True))
        assert world.simulate_carriers(id_) is not None
        assert world.connection(id_)["group_connections"][0]["status"] == status
    for _ in range(50):
        world.step()


def test_an_endless_journal_forgets_its_beginning(monkeypatch):
    monkeypatch.setattr("notifier.sandbox.world.MAX_JOURNAL", 100)
    world = build_world(seed=1, clock=TickingClock(), connections=2)
    total = sum(len(world.step()) for _ in range(400))
    assert len(world.journal) <= 100
    assert world.forgotten + len(world.journal) == total
