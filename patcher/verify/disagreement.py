"""Finds the device that differs most from the first one, relative to what rounding explains. No model, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from patcher.verify.messages import LogitsMeasured
from patcher.verify.report import Check, Disagreement
from patcher.verify.tolerances import device_tolerance


def worst_disagreement(measured: Sequence[LogitsMeasured], devices: Sequence[str]) -> Disagreement | None:
    """The disagreement of the device that differs most from the first; None if only one ran."""
    first, *others = measured
    found = [_compare(first, other, (devices[0], device)) for other, device in zip(others, devices[1:], strict=True)]
    return max(found, key=_excess, default=None)


def judge_agreement(found: Disagreement) -> Check:
    """The check `devices_agree` (see `tolerances.device_tolerance`)."""
    if found.largest is None:
        detail = "the logits could not be compared"
        return Check("devices_agree", passed=False, value=None, limit=found.tolerance, detail=detail)
    detail = (
        f"largest difference of a logit between {' and '.join(found.between)}, over {found.texts} texts; at most "
        f"eps / 2 of {found.dtype} * sqrt({found.roundings} roundings) * {found.largest_logit:.4g}, the largest logit"
    )
    passed = found.largest <= found.tolerance and found.texts > 0
    return Check("devices_agree", passed, found.largest, found.tolerance, detail)


def _compare(first: LogitsMeasured, other: LogitsMeasured, names: tuple[str, str]) -> Disagreement:
    largest_logit = max(_largest_logit(first), _largest_logit(other))
    roundings = max(first.roundings, other.roundings)
    tolerances = {
        run.coarsest_dtype: device_tolerance(largest_logit, run.coarsest_dtype, roundings) for run in (first, other)
    }
    dtype = max(tolerances, key=lambda name: tolerances[name])
    agreement = None if first.failure is not None or other.failure is not None else other.agreement
    return Disagreement(
        largest=agreement.largest if agreement and math.isfinite(agreement.largest) else None,
        tolerance=tolerances[dtype],
        between=names,
        texts=agreement.texts if agreement else 0,
        dtype=dtype,
        roundings=roundings,
        largest_logit=largest_logit,
    )


def _largest_logit(measured: LogitsMeasured) -> float:
    """The largest magnitude of a logit; 0 where there is none."""
    figures = measured.patched
    return max(abs(figures.min or 0.0), abs(figures.max or 0.0)) if figures else 0.0


def _excess(found: Disagreement) -> float:
    return math.inf if found.largest is None else found.largest / (found.tolerance or math.inf)
