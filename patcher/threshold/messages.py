"""What the parent and the child of a threshold measurement tell each other; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from patcher.codec import json_field
from patcher.verify.messages import Measured

KINDS = ("query", "document")


@dataclass(frozen=True)
class Point:
    """How vectors are pruned: activations below the threshold of their side become 0.

    Of what is left, the `top_k` largest of each text are kept; None keeps all.
    """

    query: float = json_field(key="query_threshold")
    document: float = json_field(key="document_threshold")
    query_top_k: int | None = None
    document_top_k: int | None = None

    def side(self, kind: str) -> tuple[float, int | None]:
        """Threshold and top k of one kind of text, query or document."""
        return (self.query, self.query_top_k) if kind == "query" else (self.document, self.document_top_k)

    @property
    def short(self) -> str:
        """One threshold for both sides, or those of queries and documents on either side of a slash."""
        query, document = (f"{value:g}" + f" top {top}" * (top is not None) for value, top in map(self.side, KINDS))
        return query if query == document else f"{query}/{document}"

    def __str__(self) -> str:
        sides = {kind: self.side(kind) for kind in KINDS}
        texts = {kind: f"{value:g}" + (f" and top {top}" if top else "") for kind, (value, top) in sides.items()}
        same = texts["query"] == texts["document"]
        return texts["query"] if same else f"{texts['query']} for queries, {texts['document']} for documents"


@dataclass(frozen=True, kw_only=True)
class ThresholdRequest:
    """Encode the texts with a SparseEncoder model and measure every point.

    `model` is its folder, `without_cap` a folder of the same model whose code has no cap, to measure both (None where
    there is nothing to compare); `encoders` are the sub-folders with a masked LM. If `in_code`, a threshold is what the
    code subtracts, not a module. `queries` and `documents` are texts
    by id, `relevant` are ids of documents by id of the query. The first point prunes nothing; `uncapped_tasks` keep
    everything. With `drop_bos` the bos token's dimension is left out of vectors of a capped head. `expected` are ids of
    queries whose ranks are reported. `progress` is a file in which the child counts the texts that are done.
    """

    device: str
    model: str
    without_cap: str | None
    encoders: tuple[str, ...]
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    relevant: Mapping[str, tuple[str, ...]]
    points: tuple[Point, ...]
    uncapped_tasks: tuple[str, ...]
    expected: tuple[str, ...]
    progress: str
    drop_bos: bool = False
    in_code: bool = False


@dataclass(frozen=True)
class Sparsity:
    """The figures of `SparseEncoder.sparsity()`, means over texts."""

    active_dims: float
    sparsity_ratio: float


@dataclass(frozen=True)
class Interval:
    """A mean over queries, and the bounds of its bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b of the scores of the unpruned top ten, before and after: the mean over queries, and the least."""

    mean: float
    min: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured at one point: embedding sparsity (means over texts), costs, and the effect on the rankings.

    `flops` are multiplications for one query and document on average, `postings_per_query` the entries of an inverted
    index that a query reads. `right_first` counts judged queries for which only relevant documents share the best
    score, `lost` those that were right unpruned and are not now. `exact` is the share of queries whose top ten is the
    same list. `ndcg`, `mrr` and `recall` are means over judged queries, each over ten documents; `ndcg_interval` is the
    bootstrap interval of the first. `losses` are, by metric, what pruning costs: the mean of the paired differences,
    before minus after, with its interval. Without judgements these are None or empty. `ranks` are those of the best
    right document of the expected queries, from 1, None beyond ten.
    """

    json_properties = ("threshold",)

    point: Point
    query_sparsity: float = json_field(key="query_embedding_sparsity")
    query_active_dims: float = json_field()
    document_sparsity: float = json_field(key="document_embedding_sparsity")
    document_active_dims: float = json_field()
    flops: float
    postings_per_query: float
    index_bytes: int
    right_first: int | None
    lost: int | None
    exact: float = json_field(key="exact_top_10")
    tau: Tau = json_field(key="kendall_tau")
    ndcg: float | None = json_field(key="ndcg@10")
    ndcg_interval: Interval | None = json_field(key="ndcg@10_interval")
    mrr: float | None = json_field(key="mrr@10")
    recall: float | None = json_field(key="recall@10")
    losses: Mapping[str, Interval]
    ranks: Mapping[str, int | None]

    @property
    def threshold(self) -> float:
        """The threshold of documents, which is that of queries too unless the point says otherwise."""
        return self.point.document


@dataclass(frozen=True)
class DroppedBos:
    """The dimension of the bos token, and how many of the `texts` did not have the same activation there as all others.

    Where none, leaving it out takes the same number from every score.
    """

    dim: int
    texts: int
    others: int


@dataclass(frozen=True, kw_only=True)
class ThresholdMeasured(Measured):
    """What a trained model shows; `tensors_changed` names those that only the model or its checkpoint has.

    `width` is that of the embeddings, `raw` the figures without pruning by kind of text (query, document); `rows` begin
    with the point that prunes nothing. `without_cap` is the same model, unpruned, run without its cap; its losses are
    those of taking the cap off.
    """

    width: int
    vocab_size: int
    sentence_transformers: str
    raw: Mapping[str, Sparsity]
    rows: tuple[Row, ...]
    without_cap: Row | None = None
    bos: DroppedBos | None = None
