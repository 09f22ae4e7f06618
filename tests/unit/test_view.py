from __future__ import annotations

import msgspec

from notifier.core.view import Learned, View


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def learn(view: View, **items: str) -> None:
    hits: set[bytes] = set()
    fresh = view.scan([raw(text) for text in items.values()], hits)
    by_text = {bytes(item).decode(): fingerprint for fingerprint, item in fresh}
    same = {id_: by_text[text] for id_, text in items.items() if text in by_text}
    view.update("v", Learned(same, is_whole=True))


def fresh(view: View, *texts: str) -> list[str]:
    return [bytes(item).decode() for _, item in view.scan([raw(text) for text in texts], set())]


def test_known_bytes_are_not_looked_at_again():
    view = View("")
    learn(view, a="A1", b="B1")
    assert fresh(view, "A1", "B2", "B1") == ["B2"]


def test_a_value_that_changes_and_comes_back_is_seen_both_times():
    view = View("")
    learn(view, a="A1")
    learn(view, a="A2")
    assert fresh(view, "A1") == ["A1"]
    learn(view, a="A1")
    assert fresh(view, "A2") == ["A2"]
    assert len(view) == 1


def test_what_was_not_shown_can_be_told_from_the_view():
    view = View("")
    learn(view, a="A1", b="B1", c="C1")
    hits: set[bytes] = set()
    view.scan([raw("A1"), raw("C1"), raw("C1")], hits)
    assert view.ids_of(hits) == {"a", "c"}
    assert view.not_hit(hits) == {"b"}
    view.update("w", Learned(loose={"c"}, gone={"a"}))
    assert view.not_hit(set()) == {"b", "c"}
    assert fresh(view, "A1", "C1") == ["A1", "C1"]


def test_a_page_that_was_seen_is_known_only_while_its_items_are_what_is_committed():
    view = View("")
    view.begin()
    (a, _), (b, _) = view.scan([raw("A1"), raw("B1")], set(), b"page 1")
    view.update("v", Learned({"a": a, "b": b}))
    view.begin()
    hits: set[bytes] = set()
    assert view.knows_page(b"page 1", hits)
    assert view.ids_of(hits) == {"a", "b"}
    assert not view.knows_page(b"page 2", hits)
    ((a2, _),) = view.scan([raw("A2"), raw("B1")], set(), b"page 2")
    view.update("w", Learned({"a": a2}))
    view.begin()
    assert not view.knows_page(b"page 1", set())  # A1 again: a change from A2
    assert view.knows_page(b"page 2", set())
