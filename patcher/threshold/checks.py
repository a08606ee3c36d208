"""Judges a trained model with its threshold. Pure arithmetic; a value that is not finite fails every check."""

from __future__ import annotations

import math
from collections.abc import Sequence

from patcher.threshold.messages import ThresholdMeasured
from patcher.threshold.sweep import MIN_EXACT, MIN_TAU, Row, preserved
from patcher.verify.checks import Judge, shortened
from patcher.verify.report import Check

MIN_EMBEDDING_SPARSITY = 0.99


def judge(
    measured: ThresholdMeasured,
    rows: Sequence[Row],
    chosen: float,
    capped: Sequence[str],
    judged: int,
    *,
    bundled: bool,
) -> tuple[Check, ...]:
    """The six checks, in the order in which a failure of one explains a failure of the next.

    `rows` are those of the sweep, threshold 0 first; `capped` the kinds of text that pass the capped head, in an
    inference-free model only documents; `judged` counts the queries with judgements. Where nothing is capped (an
    earlier patch) only the first two checks are made.
    """
    invalid = f"{measured.not_finite} values of the embeddings are not finite" if measured.not_finite else None
    by = Judge(measured.failure, invalid, explain=True)
    unloaded = [*measured.buffers_wrong, *measured.tensors_changed]
    detail = f"{measured.buffers} buffers held against fresh ones, {measured.tensors} tensors against the checkpoint"
    if measured.tensors_unused:
        detail += f"; only in the checkpoint: {shortened(measured.tensors_unused)}"
    checks = [
        by.none_of("loads_right", unloaded, detail),
        by.check(
            "embeddings_finite",
            measured.width,
            measured.vocab_size,
            "dimensions of the embeddings, all values finite; has to be the vocabulary's size",
            passed=measured.width == measured.vocab_size,
        ),
    ]
    if not capped:
        return tuple(checks)
    highest = max((measured.raw[kind].sparsity_ratio for kind in capped if kind in measured.raw), default=math.nan)
    reference = rows[0] if rows else None
    row = next((row for row in rows if row.threshold == chosen), None)
    checks += [
        by.check(
            "raw_metric_is_zero",
            highest,
            0,
            "SparseEncoder.sparsity() without a threshold: the cap leaves no zeros, whatever the model learned",
            passed=highest == 0,
        ),
        _sparsity("query_sparsity", row.query_sparsity if row else math.nan, chosen, by),
        _sparsity("document_sparsity", row.document_sparsity if row else math.nan, chosen, by),
        _rankings(row, reference, judged, by, bundled=bundled),
    ]
    return tuple(checks)


def _sparsity(name: str, value: float, chosen: float, by: Judge) -> Check:
    detail = f"mean embedding sparsity at threshold {chosen:g}; has to be at least the limit"
    return by.check(name, value, MIN_EMBEDDING_SPARSITY, detail, passed=value >= MIN_EMBEDDING_SPARSITY)


def _rankings(row: Row | None, reference: Row | None, judged: int, by: Judge, *, bundled: bool) -> Check:
    """Whether the top ten stay, and right documents stay first (on the bundled questions all of them have to be)."""
    if row is None or reference is None:
        return by.check("rankings_preserved", None, MIN_TAU, "no ranking was measured", passed=False)
    parts = [
        f"Kendall's tau, mean over top 10 (least {row.tau_min:.3g})",
        f"same top 10 for {row.exact:.1%} (at least {MIN_EXACT:.0%})",
    ]
    right = True
    if row.right_first is not None and row.lost is not None:
        right = row.lost == 0 and (not bundled or row.right_first == judged)
        parts.append(f"right document first for {row.right_first} of {judged}, {reference.right_first} before")
    return by.check("rankings_preserved", row.tau, MIN_TAU, "; ".join(parts), passed=right and preserved(row))
