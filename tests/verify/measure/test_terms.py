"""The strongest terms of a text under both models."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from patcher.patching.record import load
from patcher.verify.measure.logits import measure
from patcher.verify.measure.terms import PROBE_TEXTS, TERMS, Terms
from patcher.verify.requests import prepare
from tests.verify.running import wanted


def test_the_strongest_terms_stand_beside_each_text(patched: Path, tmp_path: Path) -> None:
    found = measure(prepare(load(patched), tmp_path / "scratch", wanted("x" * 3000, "Oslo er stor."), "cpu"))
    first, second = found.probe_texts
    assert first.text == "x" * 2000 + "…" and second.text == "Oslo er stor."
    terms = second.patched.terms
    assert 0 < len(terms) <= 12 and second.patched.active_dims >= len(terms)
    assert [weight for _, weight in terms] == sorted((weight for _, weight in terms), reverse=True)
    assert len(second.base.terms) == 12 and second.base.active_dims == 8192
    assert all(isinstance(term, str) and term == term.strip() and term for term, _ in terms)


class Letters:
    """A tokenizer whose tokens are letters; the first one is special, the second one is a space."""

    all_special_ids = (0,)

    def decode(self, ids: list[int]) -> str:
        return " " if ids == [1] else f" {chr(97 + ids[0])}"

    def convert_ids_to_tokens(self, token: int) -> str:
        return "<s>" if token == 0 else "_"


TEXT = {"id": "1", "language": "nb", "text": "a"}


def strongest(logits: list[float]) -> tuple[tuple[str, float], ...]:
    """The terms of one text."""
    terms = Terms(Letters())
    terms.add(0, 3, torch.tensor(logits), torch.tensor(logits), (1, 2))
    (found,) = terms.result([TEXT])
    assert (found.tokens, found.base.active_dims, found.patched.active_dims) == (3, 1, 2)
    return found.patched.terms


def test_terms_are_named_and_weighed_and_what_is_not_active_is_none() -> None:
    weight = round(math.log1p(2.0), 4)
    assert strongest([3.0, 1.0, 2.0, 0.0, -1.0]) == (
        ("<s>", round(math.log1p(3.0), 4)),
        ("c", weight),
        ("_", round(math.log1p(1.0), 4)),
    )


def test_of_equal_terms_the_lower_id_comes_first_and_no_more_than_a_few_are_kept() -> None:
    assert [name for name, _ in strongest([0.0, 0.0, 0.0, 5.0, 5.0])] == ["d", "e"]
    assert len(strongest([1.0] * 20)) == TERMS


def test_a_logit_that_is_not_a_number_is_no_term() -> None:
    assert strongest([math.nan, 0.0, 1.0])[0][0] == "c"


def test_texts_come_in_their_own_order_and_only_the_first_ones() -> None:
    terms, logits = Terms(Letters()), torch.ones(4)
    for index in (1, PROBE_TEXTS, 0):
        terms.add(index, index, logits, logits, (1, 1))
    assert [one.tokens for one in terms.result([TEXT] * (PROBE_TEXTS + 1))] == [0, 1]
