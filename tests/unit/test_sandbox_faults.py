import json

import aiohttp
import pytest

from notifier.errors import ConfigError
from notifier.sandbox.faults import PAGE_KINDS, REQUEST_KINDS, Fault, Faults, read_fault
from tests.unit.test_sandbox_api import AUTH, sandboxes  # noqa: F401 - a fixture


async def results(sandbox, path="/connections?page_size=100"):
    status, page = await sandbox.get(path)
    assert status == 200
    return page["results"]


async def test_a_status_is_answered_so_many_times(make):
    sandbox = await make()
    sandbox.faults.add("status", status=503, times=2)
    statuses = [(await sandbox.get("/connections"))[0] for _ in range(4)]
    assert statuses == [503, 503, 200, 200]
    assert sandbox.faults.active() == []


async def test_a_fault_lasts_until_it_is_cleared_and_hits_its_target_alone(make):
    sandbox = await make()
    id_ = sandbox.world.ids()[0]
    sandbox.faults.add("status", status=404, times=None, on="connection")
    for _ in range(5):
        assert (await sandbox.get(f"/connections/{id_}"))[0] == 404
    assert (await sandbox.get("/connections"))[0] == 200
    sandbox.faults.clear()
    assert (await sandbox.get(f"/connections/{id_}"))[0] == 200


async def test_a_fault_of_one_page_leaves_the_others(make):
    sandbox = await make(connections=7)
    sandbox.faults.add("status", status=500, times=None, page=2)
    _, first = await sandbox.get("/connections?page_size=3")
    assert (await sandbox.get(first["next"]))[0] == 500
    assert (await sandbox.get(first["next"]))[0] == 500


async def test_a_gateway_answers_html(make):
    sandbox = await make()
    sandbox.faults.add("status", status=502, html=True)
    async with sandbox.client.get("/connections", headers=AUTH) as response:
        assert response.status == 502
        assert response.content_type == "text/html"
        assert "Bad Gateway" in await response.text()


@pytest.mark.parametrize("retry_after", ["7", None, "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_throttles_with_the_header_asked_for(make, retry_after):
    sandbox = await make()
    sandbox.faults.add("throttle", retry_after=retry_after)
    async with sandbox.client.get("/connections", headers=AUTH) as response:
        assert response.status == 429
        assert response.headers.get("Retry-After") == retry_after


async def test_slow_answers_take_their_time(make):
    sandbox = await make()
    sandbox.faults.add("slow", seconds=30)
    assert (await sandbox.get("/connections"))[0] == 200
    assert sandbox.clock.slept == [30]


@pytest.mark.parametrize("midway", [False, True])
async def test_the_connection_is_dropped(make, midway):
    sandbox = await make()
    sandbox.faults.add("drop", midway=midway, times=None)  # aiohttp's client tries a dropped GET again
    with pytest.raises(aiohttp.ClientError):
        await sandbox.get("/connections")
    sandbox.faults.clear()
    assert (await sandbox.get("/connections"))[0] == 200


async def test_the_list_is_empty_or_cut(make):
    sandbox = await make()
    sandbox.faults.add("empty")
    assert await sandbox.get("/connections") == (200, {"next": None, "previous": None, "results": []})
    sandbox.faults.add("truncate")
    async with sandbox.client.get("/connections", headers=AUTH) as response:
        body = await response.text()
        assert response.status == 200
        assert len(body) == int(response.headers["Content-Length"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


async def test_next_leads_elsewhere_or_in_a_circle(make):
    sandbox = await make()
    sandbox.faults.add("foreign_next")
    _, page = await sandbox.get("/connections")
    assert page["next"].startswith("http://elsewhere.example")
    sandbox.faults.add("loop_next", times=None, page=2)
    _, page = await sandbox.get("/connections?page_size=2")
    _, second = await sandbox.get(page["next"])
    _, again = await sandbox.get(second["next"])
    assert page["next"] == second["next"] == again["next"]
    assert again["results"] == second["results"]


@pytest.mark.parametrize("still_by_id", [False, True])
async def test_connections_vanish_from_the_list(make, still_by_id):
    sandbox = await make(connections=40)
    sandbox.faults.add("vanish", fraction=0.5, times=None, still_by_id=still_by_id)
    seen = {item["id"] for item in await results(sandbox)}
    assert {item["id"] for item in await results(sandbox)} == seen
    gone = set(sandbox.world.ids()) - seen
    assert 5 < len(gone) < 35
    for id_ in gone:
        assert (await sandbox.get(f"/connections/{id_}"))[0] == (200 if still_by_id else 404)
    for id_ in seen:
        assert (await sandbox.get(f"/connections/{id_}"))[0] == 200


async def test_named_connections_vanish(make):
    sandbox = await make()
    id_ = sandbox.world.ids()[3]
    sandbox.faults.add("vanish", ids=(id_,), times=None)
    assert {item["id"] for item in await results(sandbox)} == set(sandbox.world.ids()) - {id_}


async def test_another_account_has_nothing_in_common_but_the_carriers(make):
    sandbox = await make()
    own = await results(sandbox)
    sandbox.faults.add("other_account", times=None)
    foreign = await results(sandbox)
    assert len(foreign) == len(own)

    def ids(items):
        children = [child for item in items for child in [*item["group_connections"], *item["events"]]]
        return {item["id"] for item in [*items, *children]} | {item["employer"] for item in items}

    assert not ids(own) & ids(foreign)
    assert all(group["connection"] == item["id"] for item in foreign for group in item["group_connections"])
    assert await sandbox.get(f"/connections/{foreign[0]['id']}") == (200, foreign[0])
    assert (await sandbox.get(f"/employers/{foreign[0]['employer']}"))[1]["id"] == foreign[0]["employer"]
    assert (await sandbox.get(f"/connections/{own[0]['id']}"))[0] == 404


async def test_connections_come_twice(make):
    sandbox = await make()
    sandbox.faults.add("duplicate")
    items = await results(sandbox)
    assert items[-1] == items[0]
    sandbox.faults.add("conflicting_duplicate")
    items = await results(sandbox)
    assert items[-1]["id"] == items[0]["id"]
    assert all(
        one["status"] != other["status"]
        for one, other in zip(items[-1]["group_connections"], items[0]["group_connections"], strict=True)
    )


async def test_fields_have_wrong_types_but_readable_ids(make):
    sandbox = await make()
    sandbox.faults.add("wrong_types")
    items = await results(sandbox)
    assert [item["id"] for item in items] == sandbox.world.ids()
    assert items != list(sandbox.world.connections())
    sandbox.faults.add("wrong_types", what="no_id")
    assert "id" not in (await results(sandbox))[0]
    sandbox.faults.add("wrong_types", what="not_object")
    assert (await results(sandbox))[0] == 7
    sandbox.faults.add("wrong_types", what="envelope")
    assert isinstance(await results(sandbox), dict)


async def test_page_faults_of_an_empty_account_do_no_harm(make):
    sandbox = await make(connections=0)
    for kind in PAGE_KINDS:
        if kind != "truncate":
            sandbox.faults.add(kind)
            assert (await sandbox.get("/connections"))[0] == 200


async def test_faults_are_injected_by_http(make):
    sandbox = await make()
    _, body = await sandbox.post(
        "/_sandbox/faults", {"kind": "status", "status": 500, "times": 3, "seconds": 2}
    )
    assert body["faults"][0]["left"] == 3
    assert (await sandbox.get("/connections"))[0] == 500
    _, state = await sandbox.get("/_sandbox/state")
    assert state["faults"][0]["left"] == 2
    async with sandbox.client.delete("/_sandbox/faults") as response:
        assert response.status == 200
    assert (await sandbox.get("/connections"))[0] == 200


@pytest.mark.parametrize(("given", "problem"), [
    ({}, "kind"), ({"kind": "x"}, "kind"), ({"kind": "status", "status": 99}, "status"),
    ({"kind": "status", "status": True}, "status"), ({"kind": "vanish", "fraction": 1.5}, "fraction"),
    ({"kind": "slow", "seconds": -1}, "seconds"), ({"kind": "empty", "on": "name"}, "on"),
    ({"kind": "status", "page": 2, "on": "name"}, "page"), ({"kind": "status", "colour": "red"}, "colour"),
    ({"kind": "vanish", "ids": [1]}, "ids"), ({"kind": "status", "times": 0}, "times"),
])  # fmt: skip
def test_a_wrong_fault_is_refused_with_the_field(given, problem):
    with pytest.raises(ConfigError) as refused:
        read_fault(given)
    assert any(line.startswith(f"{problem}: ") for line in refused.value.problems)


def test_a_fault_survives_its_json():
    for kind in (*REQUEST_KINDS, *PAGE_KINDS):
        fault = Fault(kind, times=None, ids=("conn_a",), seconds=2.0, retry_after=None)
        assert read_fault(json.loads(json.dumps(fault.as_json()))) == fault


def test_every_kind_is_documented():
    import notifier.sandbox.faults as module

    assert all(f"``{kind}``" in module.__doc__ for kind in (*REQUEST_KINDS, *PAGE_KINDS))


def test_numbers_are_taken_where_they_mean_the_same():
    fault = read_fault({"kind": "throttle", "retry_after": 7, "fraction": 1})
    assert (fault.retry_after, fault.fraction) == ("7", 1.0)
    assert isinstance(fault.fraction, float)
    assert Faults().take("list", 1) == []
