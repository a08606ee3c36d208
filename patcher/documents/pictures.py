"""The pictures that a report can be drawn as, and what each one shows in words; draws nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from patcher.documents.checks import threshold_check
from patcher.documents.formatting import number, percent
from patcher.verify.report import Report


@dataclass(frozen=True)
class Picture:
    """One picture: its title, and `alt`, which describes it in words and figures."""

    name: str
    title: str
    alt: str

    @property
    def png(self) -> str:
        """Path in the patched folder."""
        return f"plots/{self.name}.png"

    @property
    def svg(self) -> str:
        """Path in the patched folder."""
        return f"plots/{self.name}.svg"


def pictures(report: Report) -> tuple[Picture, ...]:
    """The pictures of a report, in the order of the page; none for a report without figures."""
    made = (_logits(report), _sparsity(report), _active_dims(report), _shift(report))
    return tuple(picture for picture in made if picture is not None)


def dimensions(figures: Mapping[str, Any]) -> int | None:
    """The number of dimensions of a SPLADE vector (the size of the vocabulary); None where nothing was measured."""
    try:
        active, zero = figures["active_dims"]["mean"], figures["embedding_sparsity"]["mean"]
        return round(active / (1 - zero)) if zero < 1 else None
    except (KeyError, TypeError):
        return None


def _logits(report: Report) -> Picture | None:
    if not all((side.get("histogram") or {}).get("counts") for side in (report.base, report.patched)):
        return None
    return Picture(
        "logits",
        "Logits, before and after",
        f"Histogram of all logits, counts on a logarithmic axis. Base model: from {number(report.base['min'])} to "
        f"{number(report.base['max'])}, {percent(report.base['logit_sparsity'])} at or below zero. Patched: from "
        f"{number(report.patched['min'])} to {number(report.patched['max'])}, "
        f"{percent(report.patched['logit_sparsity'])} at or below zero, where ReLU makes them zero.",
    )


def _sparsity(report: Report) -> Picture | None:
    bins = report.patched.get("by_length")
    if not bins or not report.base.get("by_length"):
        return None
    first, last = bins[0], bins[-1]
    spans = [f"{percent(row['median'])} for texts of {row['tokens'][0]} to {row['tokens'][1]} tokens" for row in bins]
    medians = f"{spans[0]}, {spans[-1]}" if first is not last else spans[0]
    limit = threshold_check(report)
    line = f" A dashed line marks {percent(limit.limit)}, the limit on logit sparsity." if limit else ""
    return Picture(
        "sparsity",
        "Embedding sparsity against text length",
        f"Embedding sparsity of each text against its number of tokens. Patched, medians: {medians}. "
        f"Base model: {percent(report.base['embedding_sparsity']['mean'])} on average.{line}",
    )


def _active_dims(report: Report) -> Picture | None:
    if not report.probe_texts:
        return None
    before, after = ([text[side]["active_dims"] for text in report.probe_texts] for side in ("before", "after"))
    return Picture(
        "active_dims",
        "Active dimensions per text",
        f"Active dimensions of the SPLADE vectors of {len(after)} texts, on a logarithmic axis. Base model: "
        f"{min(before):,} to {max(before):,}. Patched: {min(after):,} to {max(after):,}.",
    )


def _shift(report: Report) -> Picture | None:
    check, curve = threshold_check(report), report.patched.get("curve")
    if check is None or check.passed or check.value is None or not curve:
        return None
    last = curve[-1]
    return Picture(
        "shift",
        "What a constant would do",
        "Logit and embedding sparsity of the patched model against a constant that is subtracted from every logit: "
        f"{percent(curve[0]['logit_sparsity'])} and {percent(curve[0]['embedding_sparsity'])} without one, "
        f"{percent(last['logit_sparsity'])} and {percent(last['embedding_sparsity'])} with {number(last['shift'])}. "
        f"A dashed line marks the limit, {percent(check.limit)}.",
    )
