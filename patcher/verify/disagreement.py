"""Finds the device that differs most from the first one, relative to what rounding explains. No model, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from patcher.verify.messages import Agreement, FloatType, KeptCapMeasured, LogitFigures, PairMeasured
from patcher.verify.report import Check, Disagreement
from patcher.verify.tolerances import device_tolerance


@dataclass(frozen=True)
class DeviceRun:
    """What ran on a device: figures, precision (see `hardware.Precision`), and how much it differs from the first."""

    figures: LogitFigures | None
    coarsest_dtype: FloatType
    roundings: int
    agreement: Agreement | None
    failed: bool

    @classmethod
    def of(cls, measured: PairMeasured | KeptCapMeasured) -> DeviceRun:
        """The part of a child's answer that a comparison needs."""
        return cls(
            figures=measured.patched if isinstance(measured, PairMeasured) else measured.figures,
            coarsest_dtype=measured.coarsest_dtype,
            roundings=measured.roundings,
            agreement=measured.agreement,
            failed=measured.failure is not None,
        )

    @property
    def extremes(self) -> tuple[float, float]:
        """Magnitudes of the lowest and the highest logit; 0 where there is none."""
        if self.figures is None:
            return 0.0, 0.0
        return abs(self.figures.min or 0.0), abs(self.figures.max or 0.0)


def worst_disagreement(
    measured: Sequence[PairMeasured] | Sequence[KeptCapMeasured], devices: Sequence[str]
) -> Disagreement | None:
    """The disagreement of the device that differs most from the first; None if only one ran."""
    first, *others = (DeviceRun.of(one) for one in measured)
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


def _compare(first: DeviceRun, other: DeviceRun, names: tuple[str, str]) -> Disagreement:
    largest_logit = max(*first.extremes, *other.extremes)
    roundings = max(first.roundings, other.roundings)
    tolerances = {
        run.coarsest_dtype: device_tolerance(largest_logit, run.coarsest_dtype, roundings) for run in (first, other)
    }
    dtype = max(tolerances, key=lambda name: tolerances[name])
    agreement = None if first.failed or other.failed else other.agreement
    return Disagreement(
        largest=agreement.largest if agreement and math.isfinite(agreement.largest) else None,
        tolerance=tolerances[dtype],
        between=names,
        texts=agreement.texts if agreement else 0,
        dtype=dtype,
        roundings=roundings,
        largest_logit=largest_logit,
    )


def _excess(found: Disagreement) -> float:
    return math.inf if found.largest is None else found.largest / (found.tolerance or math.inf)
