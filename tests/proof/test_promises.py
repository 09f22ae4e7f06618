"""The page of guarantees and the proofs say the same."""

from __future__ import annotations

import importlib
import re

import pytest

from tests.proof.__main__ import PROOFS
from tests.proof.promises import PAGE, promises, sections


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_is_named_where_its_promises_are_and_nowhere_else(name):
    proof = importlib.import_module(f"tests.proof.{name}").PROOF
    assert proof.name == name
    named = {number for number, text in sections().items() if f"`{name}`" in text}
    assert named == set(proof.promises)


def test_every_promise_has_a_number_a_proof_or_a_test():
    assert list(promises()) == [f"P{number}" for number in range(1, 29)]
    for number, text in sections().items():
        assert re.search(r"^(Proved by|Tests:) ", text, re.MULTILINE), number


def test_every_proof_is_explained():
    table = re.findall(r"^\| `(\w+)` \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(table) == sorted(PROOFS)
