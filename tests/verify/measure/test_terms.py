"""The strongest terms of a text under both models."""

from __future__ import annotations

from pathlib import Path

from patcher.patching.record import load
from patcher.verify.measure.logits import measure
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
