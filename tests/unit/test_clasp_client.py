import gzip
import json
import random
from datetime import timedelta

import httpx
import pytest

from notifier.clasp import client as module
from notifier.clasp.answers import Gunzip, clean, retry_after_s
from notifier.clasp.client import Carrier, ClaspClient, Employer
from notifier.errors import ConfigError, SourceInvalid, SourceRefused, SourceUnavailable
from tests.support.clock import FakeClock

BASE = "https://clasp.example/api"
KEY = "sk_live_very_secret"
LIST = f"{BASE}/connections"


class Source:
    """Scripted answers, one a request; the last one repeats. ``requests`` are those that came."""

    def __init__(self, *answers, clock=None, **options):
        self.answers = list(answers)
        self.requests = []
        self.clock = clock or FakeClock()
        settings = {"base_url": BASE, "api_key": KEY, "api_version": "2026-04-24", "page_size": 100} | options
        self.client = ClaspClient(
            timeout=timedelta(seconds=15), clock=self.clock, rng=random.Random(1),
            transport=httpx.MockTransport(self.answer), **settings,
        )  # fmt: skip

    def answer(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if not callable(answer) else answer(request)

    async def traverse(self):
        return [page async for page in self.client.pages()]


def page(*ids, next=None, **headers):  # noqa: A002
    return httpx.Response(
        200, json={"next": next, "previous": None, "results": [{"id": id_} for id_ in ids]}, headers=headers
    )


def status(code, body=b"", **headers):
    return httpx.Response(code, content=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def test_follows_the_cursor_to_the_end():
    source = Source(page("a", next=f"{LIST}?cursor=x%2B%3D&page_size=25"), page("b"))
    first, second = await source.traverse()
    assert [json.loads(bytes(raw)) for raw in (*first.results, *second.results)] == [{"id": "a"}, {"id": "b"}]
    assert (first.next_cursor, second.next_cursor) == ("x+=", None)
    assert dict(source.requests[0].url.params) == {"page_size": "100"}
    assert dict(source.requests[1].url.params) == {"page_size": "100", "cursor": "x+="}
    headers = source.requests[1].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["clasp-version"] == "2026-04-24"
    assert source.clock.slept == []


async def test_sends_no_version_that_is_not_configured_and_keeps_no_cookie(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    source = Source(page("a", next=f"{LIST}?cursor=x", **{"set-cookie": "a=b"}), page("b"), api_version=None)
    await source.traverse()
    assert "clasp-version" not in source.requests[1].headers
    assert "cookie" not in source.requests[1].headers


@pytest.mark.parametrize(
    "next_",
    [
        "https://evil.example/api/connections?cursor=x", "http://clasp.example:81/api/connections?cursor=x",
        "https://clasp.example:8443/api/connections?cursor=x", "https://clasp.example/api/employers?cursor=x",
        "https://u:p@clasp.example/api/connections?cursor=x", "//clasp.example/api/connections?cursor=x", "?cursor=x",
        "https://169.254.169.254/api/connections?cursor=x", "file:///etc/passwd?cursor=x", LIST, f"{LIST}?cursor=",
        f"{LIST}?cursor=a&cursor=b", f"{LIST}?cursor={'x' * 5000}", "https://[::1/?cursor=x", "\x00", "", 7, True, ["x"], {},
        "https://clasp.example:99999999/api/connections?cursor=x",
    ],
)  # fmt: skip
async def test_a_foreign_or_useless_next_ends_the_traversal_after_its_page(next_):
    source = Source(page("a", next=next_))
    pages = source.client.pages()
    assert len((await anext(pages)).results) == 1
    with pytest.raises(SourceInvalid) as caught:
        await anext(pages)
    assert len(source.requests) == 1
    assert "cursor=x" not in str(caught.value)
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    "next_",
    [
        f"{LIST}/?cursor=x",
        "http://clasp.example/api/connections?cursor=x",
        "https://CLASP.example:443/api/connections?cursor=x&page_size=1",
    ],
)
async def test_the_same_place_written_otherwise_is_not_foreign(next_):
    source = Source(page("a", next=next_), page("b"))
    assert len(await source.traverse()) == 2


async def test_a_circle_of_cursors_ends():
    source = Source(*[page("a", next=f"{LIST}?cursor={c}") for c in "xyx"])
    with pytest.raises(SourceInvalid, match="circle"):
        await source.traverse()
    assert len(source.requests) == 3


async def test_pages_without_end_end(monkeypatch):
    monkeypatch.setattr(module, "MAX_PAGES", 20)
    numbers = iter(range(1000))
    source = Source(lambda _: page("a", next=f"{LIST}?cursor={next(numbers)}"))
    with pytest.raises(SourceInvalid, match="20 pages"):
        await source.traverse()


async def test_empty_pages_are_followed_but_not_for_ever():
    source = Source(page(next=f"{LIST}?cursor=x"), page("a"))
    assert len(await source.traverse()) == 2
    numbers = iter(range(1000))
    source = Source(lambda _: page(next=f"{LIST}?cursor={next(numbers)}"))
    with pytest.raises(SourceInvalid, match="without a connection"):
        await source.traverse()
    assert len(source.requests) == 100


#: (answer, error) of one page: none of these is ever a complete snapshot.
HOSTILE = {
    "nothing": (status(200), "no valid JSON"),
    "html": (status(200, b"<html>hello</html>", content_type="text/html"), "an HTML page"),
    "truncated": (status(200, b'{"next": null, "results": [{"id": "a"}'), "cut short"),
    "null": (status(200, b"null"), "another shape"),
    "array": (status(200, b"[]"), "another shape"),
    "no results": (status(200, b'{"next": null}'), "another shape"),
    "null results": (status(200, b'{"next": null, "results": null}'), "another shape"),
    "results object": (status(200, b'{"next": null, "results": {}}'), "another shape"),
    "no next": (status(200, b'{"results": []}'), "neither a URL nor null"),
    "huge next": (status(200, b'{"next": 1e999, "results": []}'), "another shape"),
    "error body": (status(200, b'{"type": "throttled", "message": "slow down"}'), "another shape"),
    "utf-16": (status(200, '{"next": null, "results": []}'.encode("utf-16")), "no valid JSON"),
    "two": (status(200, b'{"next": null, "results": []}{}'), "no valid JSON"),
    "deep elsewhere": (status(200, b'{"x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001), "too deeply"),
    "no content": (status(204), "answered 204"),
    "part": (status(206, b'{"next": null, "results": []}'), "answered 206"),
    "brotli": (status(200, b"x", content_encoding="br"), "not asked for"),
    "twice gzip": (status(200, b"x", content_encoding="gzip, gzip"), "not asked for"),
    "400": (status(400, b'{"type": "validation_error", "message": "bad"}'), r"400 \(validation_error: bad\)"),
    "404": (status(404, b'{"detail": "Invalid cursor"}'), r"404 \(Invalid cursor\)"),
    "410": (status(410), "410"),
    "418": (status(418, b"x" * 100_000), "418"),
    "301": (status(301, location="https://evil.example/"), "redirect"),
    "307": (status(307, location="https://evil.example/"), "redirect"),
    "304": (status(304), r"304 \(Not Modified\), though nothing here is cached$"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_is_told_once_and_the_next_traversal_recovers(name):
    answer, words = HOSTILE[name]
    source = Source(answer, page("a"))
    with pytest.raises(SourceInvalid, match=words) as caught:
        await source.traverse()
    assert len(source.requests) == 1
    assert KEY not in str(caught.value)
    assert len(await source.traverse()) == 1


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refused_key_names_the_setting_and_is_not_tried_again(code):
    source = Source(status(code, json.dumps({"message": f"bad key {KEY}\n\x1b[31m" + "x" * 1000}).encode()))
    with pytest.raises(SourceRefused, match=r"source\.api_key") as caught:
        await source.traverse()
    assert len(source.requests) == 1
    assert KEY not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


async def test_an_answer_that_repeats_the_key_of_before_its_renewal_does_not_show_it():
    def answer(request):
        source.client.renew("sk_live_new")  # while the request is under way
        return status(401, json.dumps({"message": f"bad {request.headers['authorization']}"}).encode())

    source = Source(answer)
    with pytest.raises(SourceRefused, match=r"bad Bearer \*\*\*"):
        await source.traverse()


async def test_nor_does_a_failure_to_reach_it():
    def answer(request):
        source.client.renew(f"sk_live_new_{len(source.requests)}")
        raise httpx.ConnectError(f"sent {request.headers['authorization']}")

    source = Source(answer)
    with pytest.raises(SourceUnavailable, match=r"sent Bearer \*\*\* "):
        await source.traverse()


FLEETING = [408, 425, 429, 500, 502, 503, 504, 521, 599]


@pytest.mark.parametrize("code", FLEETING)
async def test_what_may_pass_is_tried_again(code):
    source = Source(status(code, b"<html>", content_type="text/html"), page("a"))
    assert len(await source.traverse()) == 1
    assert len(source.clock.slept) == 1


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
)
async def test_lost_connections_are_tried_four_times(error):
    source = Source(error)
    with pytest.raises(SourceUnavailable, match="tried 4 times"):
        await source.traverse()
    assert len(source.requests) == 4
    assert len(source.clock.slept) == 3
    assert all(0.5 <= pause <= 4 for pause in source.clock.slept)


async def test_retry_after_is_obeyed():
    source = Source(status(429, b'{"type": "throttled", "message": "m"}', retry_after="7"), page("a"))
    await source.traverse()
    assert 7 <= source.clock.slept[0] <= 7.25
    source = Source(status(503, retry_after="Mon, 23 Nov 2026 22:00:09 GMT"), page("a"))
    await source.traverse()
    assert 9 <= source.clock.slept[0] <= 9.25


async def test_a_longer_wait_than_a_poll_can_take_is_told():
    for seconds, tries in ((61, 1), (999_999_999, 1), (45, 1), (14, 3)):
        source = Source(status(429, retry_after=str(seconds)))
        with pytest.raises(SourceUnavailable, match=f"wait {seconds:,} s"):
            await source.traverse()
        assert len(source.requests) == tries
        assert sum(source.clock.slept) <= 30


@pytest.mark.parametrize("header", ["soon", "-5", "1.5", "", "9" * 30, "²", "Mon, 99 Nov 2026 22:00:09 GMT"])
async def test_a_useless_retry_after_is_no_retry_after(header):
    assert retry_after_s(header, FakeClock().now()) is None


def test_a_retry_after_in_the_past_is_now():
    assert retry_after_s("Mon, 23 Nov 2020 22:00:09 GMT", FakeClock().now()) == 0


@pytest.mark.parametrize("code", [404, 410])
@pytest.mark.parametrize("body", [b"", b'{"detail": "Not found."}', b'{"type": "x"}', b" {} "])
async def test_a_connection_is_gone_where_clasp_says_so(code, body):
    assert await Source(status(code, body)).client.connection("conn_1") is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html>", b"  \n<!doctype html>", b"\xef\xbb\xbf<a>", b"x" * 100_000, "<html>".encode("utf-16"), b"Not Found",
        b"404 page not found\n", b"default backend - 404", b"[]", b"null", b'"gone"', b" ", b"{}{}", b'{"type": "not_f',
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    ],
)  # fmt: skip
async def test_a_gateway_removes_no_connection(body):
    with pytest.raises(SourceInvalid):
        await Source(status(404, body)).client.connection("conn_1")
    with pytest.raises(SourceInvalid):
        await Source(status(404, b"{}", content_type="text/html; charset=utf-8")).client.connection("conn_1")


async def test_a_connection_is_what_was_asked_for():
    source = Source(httpx.Response(200, json={"id": "conn_1", "status": "x"}))
    assert json.loads(bytes(await source.client.connection("conn_1"))) == {"id": "conn_1", "status": "x"}
    assert source.requests[0].url == f"{BASE}/connections/conn_1"
    for body in (b'{"id": "conn_2"}', b"{}", b'{"id": null}', b"[]", b"", b"<html>", b'{"id": "conn_1"'):
        with pytest.raises(SourceInvalid):
            await Source(status(200, body)).client.connection("conn_1")
    for code, error in (
        (401, SourceRefused),
        (500, SourceUnavailable),
        (302, SourceInvalid),
        (400, SourceInvalid),
    ):
        with pytest.raises(error):
            await Source(status(code)).client.connection("conn_1")


@pytest.mark.parametrize("id_", ["", ".", "..", "a/b", "../employers/x", "a\\b", "x" * 256, "\ud800"])
async def test_an_id_that_is_no_part_of_a_path_is_not_asked_for(id_):
    source = Source(page())
    with pytest.raises(SourceInvalid):
        await source.client.connection(id_)
    assert source.requests == []


async def test_an_odd_id_stays_within_its_part_of_the_path():
    source = Source(lambda request: status(404))
    await source.client.connection("a?b#c%2e é")
    assert source.requests[0].url.raw_path == b"/api/connections/a%3Fb%23c%252e%20%C3%A9"


async def test_names():
    carrier = {"id": "carr_1", "legal_name": "Guardian Life Inc.", "trade_name": "Guardian", "logo_url": None}
    assert await Source(httpx.Response(200, json=carrier)).client.carrier("carr_1") == Carrier(
        "carr_1", "Guardian"
    )
    carrier["trade_name"] = None
    assert await Source(httpx.Response(200, json=carrier)).client.carrier("carr_1") == Carrier(
        "carr_1", "Guardian Life Inc."
    )
    carrier["legal_name"] = 5
    assert await Source(httpx.Response(200, json=carrier)).client.carrier("carr_1") is None
    employer = {"id": "er_1", "legal_name": "Acme\n Inc", "external_id": "48213", "federal_ein": "12-3456789"}
    assert await Source(httpx.Response(200, json=employer)).client.employer("er_1") == Employer(
        "er_1", "Acme Inc", "48213"
    )
    assert await Source(status(404)).client.employer("er_1") is None
    with pytest.raises(SourceInvalid):
        await Source(httpx.Response(200, json=carrier)).client.carrier("carr_2")


async def test_a_name_is_tried_once():
    source = Source(status(503))
    with pytest.raises(SourceUnavailable):
        await source.client.carrier("carr_1")
    assert len(source.requests) == 1
    assert source.clock.slept == []


@pytest.mark.parametrize("key", ["", "a\nb", "é", " x", "x ", "a\x00", "x\r\nHost: evil"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key):
    with pytest.raises(ConfigError, match=r"source\.api_key") as caught:
        Source(page(), api_key=key)
    assert key == "" or key not in str(caught.value)


async def test_an_error_shows_input_errors_within_bounds():
    errors = [
        {"field": "page_size", "message": "too big"},
        {"field_path": ["x"], "message": "odd"},
        None,
        5,
        {"message": 7},
    ]
    source = Source(
        status(400, json.dumps({"type": "validation_error", "input_errors": errors * 50}).encode())
    )
    with pytest.raises(SourceInvalid, match="validation_error; page_size: too big; odd") as caught:
        await source.traverse()
    assert len(str(caught.value)) < 400


def test_gunzip_is_bounded_and_sees_truncation():
    packed = gzip.compress(bytes(1_000_000)) + gzip.compress(b"end")
    for size in (1, 7, 64, len(packed)):
        gunzip = Gunzip()
        pieces = [p for at in range(0, len(packed), size) for p in gunzip.feed(packed[at : at + size])]
        assert b"".join(pieces) == bytes(1_000_000) + b"end"
        assert max(map(len, pieces)) <= 64 * 1024
        assert gunzip.is_complete
    gunzip = Gunzip()
    list(gunzip.feed(packed[:-4]))
    assert not gunzip.is_complete
    with pytest.raises(SourceInvalid):
        list(Gunzip().feed(b"no gzip at all"))


def gzipped(data):
    return httpx.Response(200, stream=httpx.ByteStream(data), headers={"content-encoding": "gzip"})


async def test_reads_gzip_and_refuses_broken_gzip():
    body = gzip.compress(b'{"next": null, "results": [{"id": "a"}]}')
    assert len(await Source(gzipped(body)).traverse()) == 1
    for broken in (body[:-1], body[:20], b"plain", body + b"x", b""):
        with pytest.raises(SourceInvalid):
            await Source(gzipped(broken)).traverse()


def test_clean_leaves_one_bounded_printable_line():
    assert clean(" a\r\n\tb\x00c\x1b[0m\u202e d ") == "a b c [0m d"
    assert len(clean("x" * 10_000)) == 300
    assert clean("the key", "key") == "the ***"
