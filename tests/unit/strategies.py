"""Hypothesis strategies for connections as the source may show them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from notifier.models import Observed, ObservedConnection

statuses = st.sampled_from(["pending", "processing", "needs_attention", "completed", "brand_new_status"])
milestone_statuses = st.sampled_from(["not_started", "review", "completed", "inactive", "unheard_of"])
categories = st.sampled_from(["initial_connection", "carrier_sync_updated", "something_else"])
moments = st.one_of(
    st.none(),
    st.datetimes(
        min_value=__import__("datetime").datetime(1980, 1, 1),
        max_value=__import__("datetime").datetime(2099, 1, 1),
    ).map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(
        ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.120Z", "2026-01-02T03:04:05+00:00", "2026-01-02"]
    ),
)
ids = st.text(alphabet="abcXYZ019-_", min_size=1, max_size=24)
group_numbers = st.one_of(st.none(), st.sampled_from(["00123", "0", "GRP-7", "", "é✓", "9" * 30]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def _some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def groups(id_: str) -> st.SearchStrategy[Observed]:
    fields = st.tuples(
        statuses,
        _some(
            {
                "carrier": st.sampled_from(["carr_A", "carr_B"]),
                "group_id": group_numbers,
                "initiated_at": moments,
                "completed_at": moments,
            }
        ),
    )
    return fields.map(lambda both: Observed(id_, {"status": both[0], **both[1]}))


def milestones(id_: str) -> st.SearchStrategy[Observed]:
    return st.builds(
        lambda status, category: Observed(
            id_, {"status": status, "category": category, "created_at": "2026-01-01T00:00:00Z"}
        ),
        milestone_statuses,
        categories,
    )


@st.composite
def connections(draw: Any, id_: str = "conn_1", pool: int = 4) -> ObservedConnection:
    group_ids = draw(st.lists(st.sampled_from([f"gc_{n}" for n in range(pool)]), unique=True))
    milestone_ids = draw(st.lists(st.sampled_from([f"ms_{n}" for n in range(pool)]), unique=True))
    fields = {"status": draw(json_values), "employer": draw(st.sampled_from(["er_1", "er_2"]))}
    if draw(st.booleans()):
        fields["broker_url"] = draw(st.none() | st.just("https://broker.example/x"))
    return ObservedConnection(
        id_,
        fields,
        tuple(draw(groups(gid)) for gid in group_ids),
        tuple(draw(milestones(mid)) for mid in milestone_ids),
    )
