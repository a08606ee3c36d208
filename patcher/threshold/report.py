"""What was found about a trained model and its threshold, as people, scripts and the saved folder read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from patcher.codec import to_json
from patcher.codemods import SoftCap
from patcher.constants import SCHEMA_VERSION
from patcher.source.snapshot import Source
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.sweep import Row
from patcher.verify.report import Check


@dataclass(frozen=True)
class ThresholdReport:
    """The checks and figures of one model at one threshold, and of the sweep where one was asked for.

    `raw` are the figures of `SparseEncoder.sparsity()` without a threshold, for queries and for documents. `rows` hold
    threshold 0 first; `recommended` is set by a sweep only. `capped` is False for a model that needs no threshold.
    """

    source: Source
    code_source: Source
    soft_cap: SoftCap
    capped: bool
    threshold: float
    environment: Mapping[str, str]
    checks: tuple[Check, ...]
    raw: Mapping[str, Mapping[str, float]]
    rows: tuple[Row, ...]
    evaluation: Evaluation
    swept: bool
    recommended: float | None

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def row(self) -> Row | None:
        """The figures at the chosen threshold."""
        return next((row for row in self.rows if row.threshold == self.threshold), None)

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": self.passed,
            "source": to_json(self.source),
            "code_source": to_json(self.code_source),
            "soft_cap": to_json(self.soft_cap),
            "capped": self.capped,
            "threshold": self.threshold,
            "environment": dict(self.environment),
            "checks": [check.as_json() for check in self.checks],
            "raw_metric": {kind: dict(figures) for kind, figures in self.raw.items()},
            "evaluation": to_json(self.evaluation),
            "rows": to_json(self.rows),
            "recommended": self.recommended,
        }
