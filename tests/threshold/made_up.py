"""A threshold report and its figures, made up, and texts to encode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from patcher.soft_cap import SoftCap
from patcher.source.snapshot import Source
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.messages import Interval, Point, Row, Tau
from patcher.threshold.metrics import METRICS, TOP, Best, Floats
from patcher.threshold.report import ThresholdReport
from patcher.verify.report import Check

NO_LOSS = dict.fromkeys(METRICS, Interval(0.0, 0.0, 0.0))
ROW = Row(
    point=Point(0.0, 0.0),
    query_sparsity=0.0,
    query_active_dims=100.0,
    document_sparsity=0.0,
    document_active_dims=100.0,
    flops=100.0,
    postings_per_query=1000.0,
    index_bytes=8000,
    right_first=10,
    lost=0,
    exact=1.0,
    tau=Tau(1.0, 1.0),
    ndcg=0.9,
    ndcg_interval=Interval(0.9, 0.8, 1.0),
    mrr=0.8,
    recall=1.0,
    losses=NO_LOSS,
    ranks={},
)


def row(threshold: float, sparsity: float = 0.995, **changes: Any) -> Row:
    """A row at one threshold for both sides whose embeddings are so sparse, with no loss."""
    dims = {name: 100 * (1 - sparsity) for name in ("query_active_dims", "document_active_dims")}
    point = Point(threshold, threshold)
    given = {"point": point, "query_sparsity": sparsity, "document_sparsity": sparsity, "flops": 1.0, **dims, **changes}
    return replace(ROW, **given)


def losing(share: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """The losses of a row that loses this share of ROW's nDCG@10, with the bounds of its interval (shares too)."""
    bounds = Interval(*(0.9 * (share if one is None else one) for one in (share, low, high)))
    return {"losses": {**NO_LOSS, "ndcg@10": bounds}, "ndcg": 0.9 * (1 - share)}


ROWS = (
    ROW,
    row(0.05, 0.5, document_sparsity=0.25, document_active_dims=75.0),
    row(1.0, 1.0, document_sparsity=0.99, query_active_dims=0.0, ndcg=0.4, tau=Tau(-0.3, -0.5)),
)
REPORT = ThresholdReport(
    source=Source(None, None, "model"),
    code_source=Source(None, None, "model"),
    soft_cap=SoftCap("Head", "forward", "modeling.py", 1, "30 * sigmoid(x / 7.5)", 30, 7.5),
    capped=True,
    point=Point(0.05, 0.05),
    tolerance=0.01,
    environment={},
    checks=(),
    raw={},
    rows=ROWS,
    more_rows=(),
    without_cap=None,
    fit=None,
    evaluation=Evaluation({}, {}, {}, True),
    swept=True,
    best=Point(0.05, 0.05),
    bm25=None,
)

QUERIES = ["Hva er hovedstaden i Norge?", "Hvem skrev romanen Sult?"]
DOCUMENTS = ["Oslo er hovedstaden og den største byen i Norge.", "Kari."]
PASSED = replace(
    REPORT,
    checks=(Check("loads_right", True, 0, 0, "none"),),
    environment={"device": "cpu", "sentence_transformers": "6", "transformers": "5"},
)
CARD = "---\nlanguage:\n- 'no'\nlicense: apache-2.0\n---\n\n# My model\n\nTrained on something.\n"


def best_of(scores: Floats, ids: Sequence[str]) -> Best:
    """The best documents by score [queries, documents], equal scores by id, as the library's evaluators rank them."""
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    order = np.argsort(-scores[:, by_id], axis=1, kind="stable")[:, :TOP]
    columns = by_id[order]
    return Best(columns, np.take_along_axis(scores, columns, axis=1))


def load(folder: Path) -> Any:
    """The SparseEncoder of a folder, on the CPU."""
    from sentence_transformers import SparseEncoder

    return SparseEncoder(str(folder), trust_remote_code=True, device="cpu")
