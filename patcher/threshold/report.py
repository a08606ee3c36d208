"""The result of a threshold measurement, for people, scripts and the saved folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from patcher.codec import json_field
from patcher.codemods import SoftCap
from patcher.source.snapshot import Source
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.messages import Sparsity
from patcher.threshold.sweep import Row
from patcher.verify.report import Check


@dataclass(frozen=True, kw_only=True)
class ThresholdReport:
    """The checks and figures of one model at one threshold, and those of a sweep if one was asked for.

    `raw` are the figures of `SparseEncoder.sparsity()` without a threshold, for queries and for documents. `rows` begin
    with threshold 0; only a sweep sets `recommended`. `capped` is False for a model that needs no threshold.
    """

    json_properties = ("passed",)

    source: Source
    code_source: Source
    soft_cap: SoftCap
    capped: bool
    threshold: float
    environment: Mapping[str, Any]
    checks: tuple[Check, ...]
    raw: Mapping[str, Sparsity] = json_field(key="raw_metric")
    rows: tuple[Row, ...]
    evaluation: Evaluation
    swept: bool = json_field(omit=True)
    recommended: float | None

    @property
    def passed(self) -> bool:
        """Whether there are checks and none failed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def row(self) -> Row | None:
        """The figures at the chosen threshold."""
        return next((row for row in self.rows if row.threshold == self.threshold), None)
