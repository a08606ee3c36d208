"""Judges a trained model at one point. Pure arithmetic; a value that is not finite fails every check."""

from __future__ import annotations

import math
from collections.abc import Collection

from patcher.threshold.messages import Point, Row, ThresholdMeasured
from patcher.threshold.sweep import MIN_EMBEDDING_SPARSITY, fit, is_no_worse, is_within, relative_losses
from patcher.verify.checks import Judge, shortened
from patcher.verify.report import Check


def judge(measured: ThresholdMeasured, point: Point, capped: Collection[str], tolerance: float) -> tuple[Check, ...]:
    """The six checks, in the order in which a failure of one explains a failure of the next.

    `capped` are the kinds of text that pass the capped head, in an inference-free model only documents. Where nothing
    is capped only the first two checks are made; those of rankings need judgements.
    """
    invalid = f"{measured.not_finite} values of the embeddings are not finite" if measured.not_finite else None
    by = Judge(measured.failure, invalid, explain=True)
    unloaded = [*measured.buffers_wrong, *measured.tensors_changed]
    detail = (
        f"buffers that differ from freshly computed ones, of {measured.buffers}, "
        f"and tensors that differ from the checkpoint, of {measured.tensors}"
    )
    extra = f"; only in the checkpoint: {shortened(measured.tensors_unused)}" if measured.tensors_unused else ""
    checks = [
        by.none_of("loads_right", unloaded, detail, extra),
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
    reference = measured.rows[0] if measured.rows else None
    row = next((row for row in measured.rows if row.point == point), None)
    unjudged = reference is not None and not reference.losses
    checks += [] if unjudged else [_fits(measured, reference, by)]
    checks += [
        _sparsity("query_sparsity", row.query_sparsity if row else math.nan, point, by),
        _sparsity("document_sparsity", row.document_sparsity if row else math.nan, point, by),
    ]
    return (*checks, *([] if unjudged else [_retrieval(row, reference, tolerance, by)]))


def judge_bos(measured: ThresholdMeasured, *, asked: bool) -> tuple[Check, ...]:
    """Whether leaving the bos token out keeps every ranking; no check if that was not asked for."""
    if not asked:
        return ()
    by, found = Judge(measured.failure), measured.bos
    if found is None:
        return (by.check("rankings_kept", None, 0, "it was not measured", passed=False),)
    detail = (
        f"texts (of {found.texts}) whose bos activation differs from the rest; if none does, every score falls by the "
        "same amount and no ranking changes"
    )
    return (by.none_of("rankings_kept", found.others, detail),)


def _fits(measured: ThresholdMeasured, reference: Row | None, by: Judge) -> Check:
    """Whether the weights do not rank better without the cap, which its code then should not have."""
    other = measured.without_cap
    if reference is None or other is None or reference.ndcg is None or other.ndcg is None:
        return by.check("weights_fit_cap", None, 0, "nDCG@10 with and without the cap was not measured", passed=False)
    change = other.losses["ndcg@10"]
    detail = (
        f"nDCG@10 with the cap, unpruned; the limit is that without the cap. Change without it: "
        f"{-change.mean:+.4f}, 95 % interval {-change.high:+.4f} to {-change.low:+.4f}"
    )
    passed = fit(other) != "without_cap"
    return by.check("weights_fit_cap", reference.ndcg, other.ndcg, detail, passed=passed)


def _sparsity(name: str, value: float, point: Point, by: Judge) -> Check:
    detail = f"mean embedding sparsity at threshold {point}; has to be at least the limit"
    return by.check(name, value, MIN_EMBEDDING_SPARSITY, detail, passed=value >= MIN_EMBEDDING_SPARSITY)


def _retrieval(row: Row | None, reference: Row | None, tolerance: float, by: Judge) -> Check:
    """Whether no metric falls beyond the tolerance and beyond what the questions can't tell from chance."""
    name = "retrieval_preserved"
    if row is None or reference is None:
        return by.check(name, None, tolerance, "no ranking was measured", passed=False)
    losses = relative_losses(row, reference)
    parts = [f"{key} {one.mean:.2%} ({one.low:.2%} to {one.high:.2%})" for key, one in losses.items()]
    worst = max((one.mean for one in losses.values()), default=math.nan)
    undecided = [key for key, one in losses.items() if not is_within(one, tolerance) and is_no_worse(one, tolerance)]
    note = f"; too few questions to tell the loss of {', '.join(undecided)} from chance" if undecided else ""
    detail = f"largest relative loss of {', '.join(parts)}, 95 % intervals of paired differences{note}"
    passed = all(is_no_worse(one, tolerance) for one in losses.values())
    return by.check(name, worst, tolerance, detail, passed=passed)
