import json

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from notifier.clock import SystemClock
from notifier.sandbox.app import create_app
from notifier.sandbox.build import build_world
from notifier.sandbox.faults import Faults
from tests.support.clock import FakeClock

KEY = "sk_test_sandbox"
AUTH = {"Authorization": f"Bearer {KEY}", "Clasp-Version": "2026-04-24"}


class Sandbox:
    def __init__(self, client, world, faults, clock):
        self.client, self.world, self.faults, self.clock = client, world, faults, clock

    async def get(self, path, **options):
        path = path.removeprefix(str(self.client.make_url("/")).rstrip("/"))
        async with self.client.get(path, headers=AUTH, **options) as response:
            return response.status, await response.json()

    async def post(self, path, body=None):
        async with self.client.post(path, headers=AUTH, json=body) as response:
            return response.status, await response.json()

    async def traverse(self, page_size=None):
        """The pages from the first on, by their `next`."""
        path = "/connections" + (f"?page_size={page_size}" if page_size else "")
        pages = []
        while path:
            status, page = await self.get(path)
            assert status == 200
            pages.append(page)
            assert len(pages) < 200
            path = page["next"]
        return pages


@pytest.fixture(name="make")
async def sandboxes():
    clients = []

    async def make(connections=7, **options):
        clock, faults = FakeClock(), Faults()
        world = build_world(seed=1, clock=clock, connections=connections)
        app = create_app(world, api_key=KEY, clock=clock, faults=faults, **({"rate_limit": None} | options))
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return Sandbox(client, world, faults, clock)

    yield make
    for client in clients:
        await client.close()


@pytest.mark.parametrize("page_size", [None, 1, 2, 3, 7, 25, 100])
async def test_a_traversal_shows_every_connection_once_whatever_the_page_size(make, page_size):
    sandbox = await make(connections=60)
    pages = await sandbox.traverse(page_size)
    items = [item for page in pages for item in page["results"]]
    assert items == list(sandbox.world.connections())
    assert all(list(page) == ["next", "previous", "results"] for page in pages)
    assert {len(page["results"]) for page in pages[:-1]} <= {page_size or 25}
    assert pages[0]["previous"] is None
    assert pages[-1]["next"] is None


async def test_links_are_absolute_and_keep_the_page_size(make):
    sandbox = await make(connections=7)
    _, first = await sandbox.get("/connections?page_size=3")
    base = str(sandbox.client.make_url("/connections"))
    assert first["next"].startswith(f"{base}?")
    assert "page_size=3" in first["next"]
    _, second = await sandbox.get(first["next"])
    _, back = await sandbox.get(second["previous"])
    assert back["results"] == first["results"]
    assert back["previous"] is None
    _, again = await sandbox.get(back["next"])
    assert again["results"] == second["results"]


async def test_a_connection_removed_between_pages_hides_no_other(make):
    sandbox = await make(connections=9)
    ids = sandbox.world.ids()
    _, first = await sandbox.get("/connections?page_size=4")
    sandbox.world.remove_connection(ids[1])
    sandbox.world.remove_connection(ids[4])
    added = sandbox.world.add_connection()
    _, second = await sandbox.get(first["next"])
    _, third = await sandbox.get(second["next"])
    seen = [item["id"] for item in second["results"] + third["results"]]
    assert seen == [*ids[5:], added]


async def test_an_account_without_connections_has_one_empty_page(make):
    sandbox = await make(connections=0)
    assert await sandbox.get("/connections") == (200, {"next": None, "previous": None, "results": []})


@pytest.mark.parametrize(
    ("page_size", "length"),
    [
        ("101", 100),
        ("9" * 5000, 25),
        ("0", 25),
        ("-3", 25),
        ("x", 25),
        ("", 25),
        ("1.5", 25),
        ("²", 25),
        ("100", 100),
    ],
)
async def test_a_page_size_out_of_range_is_clamped_as_django_does(make, page_size, length):
    sandbox = await make(connections=130)
    status, page = await sandbox.get("/connections", params={"page_size": page_size})
    assert (status, len(page["results"])) == (200, length)


@pytest.mark.parametrize("cursor", ["x", "cD14", "cD0x", "é", "AAAA", "cD0xJm49eA==", "%00", "cD0xJm49MQ"])
async def test_a_bad_cursor_answers_404(make, cursor):
    sandbox = await make()
    status, body = await sandbox.get("/connections", params={"cursor": cursor})
    assert (status, body) == (404, {"type": "not_found", "message": "Invalid cursor"})


@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", KEY, f"Token {KEY}", f"Bearer {KEY}x", f"Bearer  {KEY}", "Bearer é"]
)
async def test_no_endpoint_answers_without_the_key(make, given):
    sandbox = await make()
    headers = {"Authorization": given} if given is not None else {}
    for path in ("/connections", "/connections/x", "/carriers/x", "/employers/x"):
        async with sandbox.client.get(path, headers=headers) as response:
            assert response.status == 401
            assert (await response.json())["type"] == "authentication_error"


async def test_objects_answer_by_id(make):
    sandbox = await make()
    connection = sandbox.world.connection(sandbox.world.ids()[0])
    carrier = connection["group_connections"][0]["carrier"]
    assert await sandbox.get(f"/connections/{connection['id']}") == (200, connection)
    status, found = await sandbox.get(f"/carriers/{carrier}")
    assert status == 200
    assert list(found) == ["id", "legal_name", "trade_name", "logo_url"]
    status, found = await sandbox.get(f"/employers/{connection['employer']}")
    assert status == 200
    assert found["external_id"]
    for path in ("/connections/conn_x", "/carriers/carr_x", "/employers/er_x", "/nowhere", "/connections/"):
        assert await sandbox.get(path) == (404, {"type": "not_found", "message": "Not found."})


async def test_other_methods_answer_405(make):
    sandbox = await make()
    status, body = await sandbox.post("/connections", {})
    assert status == 405
    assert body == {"type": "method_not_allowed", "message": 'Method "POST" not allowed.'}


async def test_simulating_the_carriers_completes_every_group_connection_in_a_few_calls(make):
    sandbox = await make(connections=0)
    id_ = sandbox.world.add_connection(groups=3)
    for expected in ("processing", "completed", "completed"):
        status, body = await sandbox.post(f"/connections/{id_}/sandbox_simulate_carrier_connections")
        assert status == 200
        assert {group["status"] for group in body["group_connections"]} == {expected}
    assert body == sandbox.world.connection(id_)
    status, body = await sandbox.post(f"/connections/{id_}/submit_review")
    assert status == 200
    assert body["events"][-1]["category"] == "review_submitted"
    assert body["status"] == "completed"
    assert await sandbox.post(f"/connections/{id_}/submit_review") == (200, body)
    assert (await sandbox.post("/connections/conn_x/submit_review"))[0] == 404


async def test_the_26th_request_of_a_second_is_throttled_and_told_when_to_come_back(make):
    sandbox = await make(rate_limit=25)
    for _ in range(25):
        assert (await sandbox.get("/connections"))[0] == 200
    async with sandbox.client.get("/connections", headers=AUTH) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "1"
        assert (await response.json())["type"] == "throttled"
    assert (await sandbox.get("/_sandbox/state"))[0] == 200
    sandbox.clock.advance(1)
    assert (await sandbox.get("/connections"))[0] == 200


async def test_more_requests_at_once_than_allowed_are_throttled(make):
    sandbox = await make(at_once=0)
    assert (await sandbox.get("/connections"))[0] == 429


async def test_the_world_is_steered_by_http(make):
    sandbox = await make(connections=2)
    id_ = sandbox.world.ids()[0]
    connection = sandbox.world.connection(id_)
    group, event = connection["group_connections"][0]["id"], connection["events"][0]["id"]
    base = f"/_sandbox/connections/{id_}"
    status, body = await sandbox.post(f"{base}/groups/{group}", {"status": "strange", "follow": False})
    assert status == 200
    assert [(e["id"], e["to"]) for e in body["entries"]] == [(group, "strange")]
    await sandbox.post(f"{base}/milestones/{event}", {"status": "inactive", "follow": False})
    await sandbox.post(f"{base}/milestones", {"category": "carrier_sync_updated"})
    await sandbox.post(base, {"status": 7})
    _, found = await sandbox.get(f"/connections/{id_}")
    assert found["status"] == 7
    assert found["events"][0]["status"] == "inactive"
    assert found["events"][-1]["category"] == "carrier_sync_updated"
    _, added = await sandbox.post("/_sandbox/connections", {"groups": 2})
    assert len(added["group_connections"]) == 2
    async with sandbox.client.delete(base) as response:
        assert response.status == 200
    assert (await sandbox.get(f"/connections/{id_}"))[0] == 404
    status, body = await sandbox.post("/_sandbox/step", {"n": 5})
    assert status == 200
    assert body["entries"]
    _, journal = await sandbox.get("/_sandbox/journal")
    assert [entry["at"] for entry in journal["entries"]]
    assert len(journal["entries"]) == len(sandbox.world.journal)
    _, rest = await sandbox.get(f"/_sandbox/journal?since={len(journal['entries']) - 1}")
    assert rest["entries"] == journal["entries"][-1:]
    _, state = await sandbox.get("/_sandbox/state")
    assert sum(state["connections"].values()) == len(sandbox.world)


@pytest.mark.parametrize(("path", "body", "status"), [
    ("step", {"n": 0}, 400), ("step", {"n": True}, 400), ("step", [], 400), ("connections", {"groups": 99}, 400),
    ("connections/conn_x", {"status": "x"}, 404), ("connections/conn_x", {}, 400),
    ("connections/conn_x/groups/y", {"status": "x"}, 404), ("faults", {}, 400), ("nothing", {}, 404),
    ("faults", {"kind": "status", "times": "3"}, 400), ("faults", {"kind": "explode"}, 400),
])  # fmt: skip
async def test_a_wrong_control_request_is_told_what_is_wrong(make, path, body, status):
    sandbox = await make()
    answered, error = await sandbox.post(f"/_sandbox/{path}", body)
    assert answered == status
    assert error["message"]
    assert status == 404 or error["input_errors"][0]["message"]


async def test_only_this_machine_steers_the_world(make, monkeypatch):
    sandbox = await make()
    monkeypatch.setattr("aiohttp.web.BaseRequest.remote", "192.0.2.7")
    assert (await sandbox.get("/_sandbox/state"))[0] == 403
    assert (await sandbox.get("/connections"))[0] == 200


async def test_a_large_account_is_paged_without_writing_a_connection_again():
    world = build_world(seed=1, clock=SystemClock(), connections=20_000)
    app = create_app(world, api_key=KEY, clock=SystemClock(), rate_limit=None)
    async with TestClient(TestServer(app)) as client:
        texts = [world.text(id_) for id_ in world.ids()]
        path, pages = "/connections?page_size=100", 0
        while path:
            async with client.get(path, headers=AUTH) as response:
                body = await response.read()
            following = json.loads(body[: body.index(b',"previous"')] + b"}")["next"]
            path, pages = following and following[following.index("/connections") :], pages + 1
        assert pages == 200
        assert all(world.text(id_) is text for id_, text in zip(world.ids(), texts, strict=True))


async def test_speaks_utf8_json(make):
    sandbox = await make()
    async with sandbox.client.get("/connections", headers=AUTH) as response:
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert isinstance(response, aiohttp.ClientResponse)
