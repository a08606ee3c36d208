"""The result of a threshold measurement, for people, scripts and the saved folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from patcher.codec import json_field
from patcher.soft_cap import SoftCap
from patcher.source.snapshot import Source
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.messages import DroppedBos, Point, Row, Sparsity
from patcher.threshold.sweep import Fit
from patcher.verify.report import Check


@dataclass(frozen=True, kw_only=True)
class ThresholdReport:
    """The checks and figures of one model at one point, and those of a sweep if one was asked for.

    `point` is what was checked, and what is saved; `best` what a sweep recommends. `raw` are the figures of
    `SparseEncoder.sparsity()` without pruning, for queries and for documents. `rows` are those of one threshold for
    both sides and begin with 0, `more_rows` those of other points. `without_cap` is the model run without its cap, and
    `fit` which of both its weights fit. `capped` is False for a model whose code has no cap. `bm25` are the metrics of
    BM25 on the same questions, by name. `bos` is the bos token's dimension, if that is left out of all figures. If
    `in_code`, thresholds are constants in the code, not a module's.
    """

    json_properties = ("threshold", "recommended", "passed")

    source: Source
    code_source: Source
    soft_cap: SoftCap
    capped: bool
    point: Point
    tolerance: float
    environment: Mapping[str, Any]
    checks: tuple[Check, ...]
    raw: Mapping[str, Sparsity] = json_field(key="raw_metric")
    rows: tuple[Row, ...]
    more_rows: tuple[Row, ...]
    without_cap: Row | None
    fit: Fit | None
    evaluation: Evaluation
    swept: bool = json_field(omit=True)
    best: Point | None = json_field(key="recommended_point")
    bm25: Mapping[str, float] | None
    bos: DroppedBos | None = None
    in_code: bool = False

    @property
    def passed(self) -> bool:
        """Whether there are checks and none failed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def threshold(self) -> float:
        """The threshold of documents that was checked."""
        return self.point.document

    @property
    def recommended(self) -> float | None:
        """The threshold of documents that is recommended."""
        return self.best.document if self.best else None

    @property
    def row(self) -> Row | None:
        """The figures at the point that was checked."""
        return self.row_at(self.point)

    def row_at(self, point: Point | None) -> Row | None:
        """The figures at a point; None where that was not measured."""
        return next((row for row in (*self.rows, *self.more_rows) if row.point == point), None)
