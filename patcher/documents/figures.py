"""The table of figures, base beside patched, as the terminal, the page and the card show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from patcher.documents.formatting import decimal, percent
from patcher.verify.report import DeviceReport, Report

_FIGURES: tuple[tuple[str, Callable[[Any], str], tuple[str, ...]], ...] = (
    ("smallest logit", decimal, ("min",)),
    ("largest logit", decimal, ("max",)),
    ("negative logits", percent, ("negative_fraction",)),
    ("logit sparsity", percent, ("logit_sparsity",)),
    ("embedding sparsity, mean", percent, ("embedding_sparsity", "mean")),
    ("embedding sparsity, least", percent, ("embedding_sparsity", "min")),
    ("active dims, mean", decimal, ("active_dims", "mean")),
    ("active dims, most", decimal, ("active_dims", "max")),
)


def figures(report: Report | DeviceReport) -> list[tuple[str, str, str]]:
    """Name, base value and patched value of each figure on one device."""
    rows = [(name, show(_at(report.base, keys)), show(_at(report.patched, keys))) for name, show, keys in _FIGURES]
    if report.sparse_encoder is not None:
        base, patched = (percent(report.sparse_encoder[side]["sparsity_ratio"]) for side in ("before", "after"))
        rows.append(("SparseEncoder.sparsity(), sparsity_ratio", base, patched))
    return rows


def figure_rows(report: Report) -> list[tuple[str, str, list[str]]]:
    """Name, base value and the patched values, one for each device, of each figure."""
    by_device = [figures(device) for device in report.devices]
    return [(rows[0][0], rows[0][1], [row[2] for row in rows]) for rows in zip(*by_device, strict=True)]


def _at(found: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = found
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
