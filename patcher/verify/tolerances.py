"""How much two computations of the same logits may differ, derived from their dtype, and which device differs most.

No model, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from patcher.soft_cap import SoftCap
from patcher.verify.messages import LogitsMeasured, ModeResult
from patcher.verify.report import Check, Disagreement, ModeReport

# Distance between 1 and the next larger number (torch.finfo(dtype).eps), for processes without torch.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}

REFERENCE = 1e-5  # of the largest output; 84 times eps of float32


def spacing(value: float, dtype: str) -> float:
    """Distance from `value` down to the next smaller number of a dtype with unlimited range."""
    if value <= 0 or not math.isfinite(value):
        return math.nan
    fraction, exponent = math.frexp(value)  # value = fraction * 2**exponent with fraction in [0.5, 1)
    return math.ldexp(EPS[dtype], exponent - (2 if fraction == 0.5 else 1))


def cap_tolerance(scale: float, dtype: str, shift: float = 0.0, *, kept: bool = False) -> float:
    """Largest |base - scale * kind((patched + shift) / temperature)| that rounding explains: 5 spacings at `scale`.

    No capped logit is larger than `scale`, so a correctly rounded step errs by half a spacing at most. The head takes
    three steps (the quotient, whose error the slope of the sigmoid, at most 1/4, and of tanh, at most 1, passes on; the
    function itself, one spacing as libraries compute it; the product), and so does the cap that is recomputed:
    2 * (1/2 + 1 + 1/2) = 4, and one for a scale that is itself rounded. A shift, subtracted and added back, adds two.
    Where the cap is `kept`, both models compute it alike, and the two halves of a shift are all: one spacing.
    """
    return cap_spacings(shifted=bool(shift), kept=kept) * spacing(scale, dtype)


def cap_spacings(*, shifted: bool, kept: bool) -> int:
    """The number of spacings that `cap_tolerance` allows."""
    return 1 if kept else 7 if shifted else 5


def device_tolerance(largest: float, dtype: str, roundings: int) -> float:
    """Largest difference of one logit between two devices that rounding explains.

    eps / 2 is the relative error of one rounding. `roundings` of them, one after the other and independent, add up as
    a random walk does, to eps / 2 * sqrt(roundings) (Higham and Mary 2019, https://doi.org/10.1137/18M1226312). Of a
    logit as large as the `largest`, in magnitude, that is the product. `dtype` is the coarser one of the two devices.
    """
    return EPS[dtype] / 2 * math.sqrt(roundings) * largest


def judge_mode(mode: ModeResult, measured: LogitsMeasured, cap: SoftCap | None) -> ModeReport:
    """Whether a mode is right: nothing is wrong in it, and its differences are those that rounding explains.

    `cap` is what was removed or lowered; None where the cap stays as it is.
    """
    error = mode.error if mode.error is not None and math.isfinite(mode.error) else None
    if mode.not_run is not None:
        return ModeReport(mode.name, None, None, mode.not_run)
    wrong = [mode.wrong] if mode.wrong else []
    limit = cap_tolerance(cap.scale, mode.dtype, cap.shift, kept=cap.kept) if cap is not None else 0.0
    if not (mode.error or 0.0) <= limit:
        other = "this model" if cap is None else f"patched + {cap.shift:.4g}" if cap.kept else "cap(patched)"
        wrong.append(f"base and {other} differ by {mode.error:.3g}")
    if not (mode.drift or 0.0) <= device_tolerance(mode.largest, measured.coarsest_dtype, measured.roundings):
        wrong.append(f"the logits differ by {mode.drift:.3g} from those in the mode {mode.repeated}")
    return ModeReport(mode.name, not wrong, error, "; ".join(wrong))


def reference_tolerance(scale: float) -> float:
    """Largest difference between two versions of transformers that rounding explains.

    It is a share of `scale`, the largest output. Both compute in float32 on a CPU and differ in the order of operations
    and in the padding of a batch. Of an output that stays below 1 the share is taken of 1.
    """
    return REFERENCE * max(1.0, scale)


def worst_disagreement(measured: Sequence[LogitsMeasured], devices: Sequence[str]) -> Disagreement | None:
    """The disagreement of the device that differs most from the first; None if only one ran."""
    first, *others = measured
    found = [_compare(first, other, (devices[0], device)) for other, device in zip(others, devices[1:], strict=True)]
    return max(found, key=_excess, default=None)


def judge_agreement(found: Disagreement) -> Check:
    """The check `devices_agree` (see `device_tolerance`)."""
    if found.largest is None:
        detail = "the logits could not be compared"
        return Check("devices_agree", passed=False, value=None, limit=found.tolerance, detail=detail)
    detail = (
        f"largest logit difference between {' and '.join(found.between)}, over {found.texts} texts; at most "
        f"eps / 2 of {found.dtype} * sqrt({found.roundings} roundings) * {found.largest_logit:.4g}, the largest logit"
    )
    passed = found.largest <= found.tolerance and found.texts > 0
    return Check("devices_agree", passed, found.largest, found.tolerance, detail)


def _compare(first: LogitsMeasured, other: LogitsMeasured, names: tuple[str, str]) -> Disagreement:
    largest_logit = max(_largest_logit(first), _largest_logit(other))
    roundings = max(first.roundings, other.roundings)
    dtype = max(first.coarsest_dtype, other.coarsest_dtype, key=EPS.__getitem__)
    agreement = None if first.failure is not None or other.failure is not None else other.agreement
    return Disagreement(
        largest=agreement.largest if agreement and math.isfinite(agreement.largest) else None,
        tolerance=device_tolerance(largest_logit, dtype, roundings),
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
