"""Judges a trained model with its threshold. Pure arithmetic; a value that is not finite fails every check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patcher.threshold.sweep import MIN_EXACT, MIN_TAU, Row, preserved
from patcher.verify.report import Check

MIN_EMBEDDING_SPARSITY = 0.99


@dataclass(frozen=True)
class Measured:
    """What the child process measured; counts unless said otherwise.

    `width` is that of the embeddings, `raw` the figures of `SparseEncoder.sparsity()` without a threshold by kind of
    text (query, document), `rows` what `sweep.rows` reads.
    """

    tensors: int
    tensors_unmatched: Sequence[str]
    buffers: int
    buffers_wrong: Sequence[str]
    not_finite: int
    width: int
    vocab_size: int
    raw: Mapping[str, Mapping[str, float]]
    rows: Sequence[Mapping[str, Any]]
    environment: Mapping[str, str]
    failure: str | None = None


def judge(
    measured: Measured, rows: Sequence[Row], chosen: float, capped: Sequence[str], judged: int, bundled: bool
) -> tuple[Check, ...]:
    """The six checks, in the order in which a failure of one explains a failure of the next.

    `rows` are those of the sweep, threshold 0 first; `capped` the kinds of text that pass the capped head, in an
    inference-free model only documents; `judged` counts the queries with judgements. Where nothing is capped (an
    earlier patch) only the first two checks are made.
    """
    unloaded = [*measured.buffers_wrong, *measured.tensors_unmatched]
    detail = f"{measured.buffers} buffers held against fresh ones, {measured.tensors} tensors against the checkpoint"
    checks = [
        _check("loads_right", len(unloaded), 0, not unloaded, _named(detail, unloaded), measured),
        _check(
            "embeddings_finite",
            measured.width,
            measured.vocab_size,
            measured.width == measured.vocab_size,
            "dimensions of the embeddings, all values finite; has to be the vocabulary's size",
            measured,
        ),
    ]
    if not capped:
        return tuple(checks)
    highest = max((measured.raw[kind]["sparsity_ratio"] for kind in capped if kind in measured.raw), default=math.nan)
    reference = rows[0] if rows else None
    row = next((row for row in rows if row.threshold == chosen), None)
    checks += [
        _check(
            "raw_metric_is_zero",
            highest,
            0,
            highest == 0,
            "SparseEncoder.sparsity() without a threshold: the cap leaves no zeros, whatever the model learned",
            measured,
        ),
        _sparsity("query_sparsity", row.query_sparsity if row else math.nan, chosen, measured),
        _sparsity("document_sparsity", row.document_sparsity if row else math.nan, chosen, measured),
        _rankings(row, reference, judged, bundled, measured),
    ]
    return tuple(checks)


def _sparsity(name: str, value: float, chosen: float, measured: Measured) -> Check:
    detail = f"mean embedding sparsity at threshold {chosen:g}; has to be at least the limit"
    return _check(name, value, MIN_EMBEDDING_SPARSITY, value >= MIN_EMBEDDING_SPARSITY, detail, measured)


def _rankings(row: Row | None, reference: Row | None, judged: int, bundled: bool, measured: Measured) -> Check:
    """Right documents keep their first place (on the bundled questions all of them have it), and so do the top ten."""
    if row is None or reference is None:
        return _check("rankings_preserved", math.nan, MIN_TAU, False, "no ranking was measured", measured)
    parts = [
        f"Kendall's tau, mean over top 10 (least {row.tau_min:.3g})",
        f"same top 10 for {row.exact:.1%} (at least {MIN_EXACT:.0%})",
    ]
    right = True
    if row.right_first is not None and row.lost is not None:
        right = row.lost == 0 and (not bundled or row.right_first == judged)
        parts.append(f"right document first for {row.right_first} of {judged}, {reference.right_first} before")
    return _check("rankings_preserved", row.tau, MIN_TAU, right and preserved(row), "; ".join(parts), measured)


def _named(detail: str, wrong: Sequence[str]) -> str:
    return f"{detail}: {', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}" if wrong else detail


def _check(name: str, value: float, limit: float, passed: bool, detail: str, measured: Measured) -> Check:
    finite = value if math.isfinite(value) else None
    if measured.failure is not None:
        return Check(name, False, None, limit, f"the model did not run: {measured.failure}")
    if measured.not_finite:
        why = f"{measured.not_finite} values of the embeddings are not finite; {detail}"
        return Check(name, False, finite, limit, why)
    return Check(name, passed and finite is not None, finite, limit, detail)
