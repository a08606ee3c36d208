"""BM25's figures on the bundled questions are stored with them; on a user's texts they are measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patcher.threshold import bm25
from patcher.threshold.evaluation import bundled_questions
from tests.threshold.measuring import few_questions


def test_the_stored_figures_are_what_bm25_reaches_and_leave_room_to_be_better() -> None:
    pytest.importorskip("bm25s")
    stored = bm25.figures(bundled_questions())
    assert stored == pytest.approx(bm25.measure(bundled_questions()), abs=0.002)
    assert stored is not None and 0.5 < stored["ndcg@10"] < 0.8


def test_the_texts_of_a_user_are_measured_where_bm25s_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(few_questions(8), bundled=False)
    assert bm25.figures(replace(own, relevant={})) is None
    found = bm25.figures(own)
    assert found is not None and found["mrr@10"] > 0.8
    monkeypatch.setattr(bm25, "find_spec", lambda name: None if name == "bm25s" else name)
    assert bm25.figures(own) is None


def test_texts_of_stop_words_alone_are_found_by_nothing() -> None:
    pytest.importorskip("bm25s")
    own = replace(few_questions(1), documents={key: "og det er" for key in few_questions(1).documents}, bundled=False)
    assert set(bm25.measure(own).values()) == {0.0}
