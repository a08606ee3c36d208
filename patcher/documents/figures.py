"""The table of figures, base beside patched, as the terminal and the card show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from patcher.documents.formatting import decimal, percent

if TYPE_CHECKING:
    from patcher.verify.report import DeviceReport, Report


def figures(report: Report | DeviceReport) -> list[tuple[str, str, str]]:
    """The table before and after, row by row, as the terminal and the card show it."""

    def row(name: str, show: Callable[[Any], str], *keys: str) -> tuple[str, str, str]:
        return name, show(_at(report.base, keys)), show(_at(report.patched, keys))

    rows = [
        row("smallest logit", decimal, "min"),
        row("largest logit", decimal, "max"),
        row("negative logits", percent, "negative_fraction"),
        row("logit sparsity", percent, "logit_sparsity"),
        row("embedding sparsity, mean", percent, "embedding_sparsity", "mean"),
        row("embedding sparsity, least", percent, "embedding_sparsity", "min"),
        row("active dims, mean", decimal, "active_dims", "mean"),
        row("active dims, most", decimal, "active_dims", "max"),
    ]
    if report.sparse_encoder is not None:
        theirs = report.sparse_encoder
        rows.append(
            (
                "SparseEncoder.sparsity(), sparsity_ratio",
                percent(theirs["before"]["sparsity_ratio"]),
                percent(theirs["after"]["sparsity_ratio"]),
            )
        )
    return rows


def _at(figures: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = figures
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
