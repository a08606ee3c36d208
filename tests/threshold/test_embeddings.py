"""How scores become rankings in the child: equal scores, and documents that score nothing."""

from __future__ import annotations

import torch

from patcher.threshold.embeddings import _ranked, _rankings
from patcher.threshold.messages import Ranking

IDS = ["c", "a", "b", "d"]


def test_equal_scores_are_ranked_by_id_as_the_library_does() -> None:
    assert _ranked(torch.tensor([[1.0, 1.0, 2.0, 1.0]]), IDS) == [[2, 1, 0, 3]]


def test_a_document_that_scores_nothing_is_not_retrieved_but_keeps_its_place_in_tau() -> None:
    scores = torch.tensor([[0.0, 3.0, 0.0, 1.0]])
    (found,) = _rankings(scores, _ranked(scores, IDS), [[3, 0, 1]], IDS)
    assert found == Ranking(("a", "d"), ("a",), (1.0, 0.0, 3.0))


def test_all_documents_with_the_best_score_lead() -> None:
    scores = torch.tensor([[2.0, 3.0, 3.0, 1.0]])
    assert _rankings(scores, _ranked(scores, IDS), [[0]], IDS)[0].leaders == ("a", "b")


def test_nobody_leads_where_nothing_is_retrieved() -> None:
    scores = torch.zeros(1, 4)
    assert _rankings(scores, _ranked(scores, IDS), [[0]], IDS) == [Ranking((), (), (0.0,))]
