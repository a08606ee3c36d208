"""What the parent and the child of a threshold measurement tell each other; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from patcher.verify.messages import Measured


@dataclass(frozen=True, kw_only=True)
class ThresholdRequest:
    """Encode the texts with a SparseEncoder model and measure every threshold.

    `model` is its folder, `encoders` are its sub-folders with a masked LM. `queries` and `documents` are texts by id,
    `relevant` are ids of documents by id of the query. `thresholds` begin with 0; `uncapped_tasks` keep everything.
    """

    device: str
    model: str
    encoders: tuple[str, ...]
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    relevant: Mapping[str, tuple[str, ...]]
    thresholds: tuple[float, ...]
    uncapped_tasks: tuple[str, ...]


@dataclass(frozen=True)
class Sparsity:
    """The figures of `SparseEncoder.sparsity()`, means over texts."""

    active_dims: float
    sparsity_ratio: float


@dataclass(frozen=True)
class Ranking:
    """One query at one threshold.

    `top`: ids of the best ten documents, best first, equal scores by id, without those that score 0. `leaders`: the
    documents that share the best score. `scores`: the scores of the documents that are the best ten *without* a
    threshold.
    """

    top: tuple[str, ...]
    leaders: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class ThresholdFigures:
    """What was measured at one threshold; `rankings` are in the order of the queries, `ndcg` and `mrr` over ten."""

    threshold: float
    query: Sparsity
    document: Sparsity
    rankings: tuple[Ranking, ...]
    ndcg: float | None
    mrr: float | None


@dataclass(frozen=True, kw_only=True)
class ThresholdMeasured(Measured):
    """What a trained model shows; `tensors_changed` names those that only the model or its checkpoint has.

    `width` is that of the embeddings, `raw` the figures without a threshold by kind of text (query, document); `rows`
    begin with threshold 0.
    """

    width: int
    vocab_size: int
    sentence_transformers: str
    raw: Mapping[str, Sparsity]
    rows: tuple[ThresholdFigures, ...]
