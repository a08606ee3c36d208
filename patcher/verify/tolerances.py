"""How much two computations of the same logits may differ: derived from the dtype that they were computed in."""

from __future__ import annotations

import math

# Distance between 1 and the next larger number (torch.finfo(dtype).eps), for processes without torch.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def spacing(value: float, dtype: str) -> float:
    """Distance from `value` down to the next smaller number of a dtype with unlimited range."""
    if value <= 0 or not math.isfinite(value):
        return math.nan
    fraction, exponent = math.frexp(value)  # value = fraction * 2**exponent with fraction in [0.5, 1)
    return math.ldexp(EPS[dtype], exponent - (2 if fraction == 0.5 else 1))


def cap_tolerance(scale: float, dtype: str, shift: float = 0.0) -> float:
    """Largest |base - scale * kind((patched + shift) / temperature)| that rounding explains: 5 spacings at `scale`.

    No capped logit is larger than `scale`, so a correctly rounded step errs by half a spacing at most. The head takes
    three steps (the quotient, whose error the slope of the sigmoid, at most 1/4, and of tanh, at most 1, passes on; the
    function itself, one spacing as libraries compute it; the product), and so does the cap that is recomputed:
    2 * (1/2 + 1 + 1/2) = 4, and one for a scale that is itself rounded. A shift, subtracted and added back, adds two.
    """
    return (7 if shift else 5) * spacing(scale, dtype)


def device_tolerance(largest: float, dtype: str, roundings: int) -> float:
    """Largest difference of one logit between two devices that rounding explains.

    eps / 2 is the relative error of one rounding. `roundings` of them, one after the other and independent, add up as
    a random walk does, to eps / 2 * sqrt(roundings) (Higham and Mary 2019, https://doi.org/10.1137/18M1226312). Of a
    logit as large as the `largest`, in magnitude, that is the product. `dtype` is the coarser one of the two devices.
    """
    return EPS[dtype] / 2 * math.sqrt(roundings) * largest
