"""A threshold report and its figures, made up, and texts to encode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from patcher.codemods import SoftCap
from patcher.source.snapshot import Source
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.report import ThresholdReport
from patcher.threshold.sweep import Row
from patcher.verify.report import Check

ROW = Row(0.0, 0.0, 100, 0.0, 100, 10, 0, 1.0, 1.0, 1.0, 0.9, 0.8)
ROWS = (
    ROW,
    replace(ROW, threshold=0.05, query_sparsity=0.5, document_sparsity=0.25),
    replace(ROW, threshold=1.0, query_sparsity=1.0, document_sparsity=0.99, ndcg=0.4, tau=-0.3),
)
REPORT = ThresholdReport(
    source=Source(None, None, "model"),
    code_source=Source(None, None, "model"),
    soft_cap=SoftCap("Head", "forward", "modeling.py", 1, "30 * sigmoid(x / 7.5)", 30, 7.5),
    capped=True,
    threshold=0.05,
    environment={},
    checks=(),
    raw={},
    rows=ROWS,
    evaluation=Evaluation({}, {}, {}, True),
    swept=True,
    recommended=0.05,
)

QUERIES = ["Hva er hovedstaden i Norge?", "Hvem skrev romanen Sult?"]
DOCUMENTS = ["Oslo er hovedstaden og den største byen i Norge.", "Kari."]
PASSED = replace(
    REPORT,
    checks=(Check("loads_right", True, 0, 0, "none"),),
    environment={"device": "cpu", "sentence_transformers": "6", "transformers": "5"},
)
CARD = "---\nlanguage:\n- 'no'\nlicense: apache-2.0\n---\n\n# My model\n\nTrained on something.\n"


def load(folder: Path) -> Any:
    """The SparseEncoder of a folder, on the CPU."""
    from sentence_transformers import SparseEncoder

    return SparseEncoder(str(folder), trust_remote_code=True, device="cpu")
