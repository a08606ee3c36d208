"""Says which of several devices lies farthest from the first one, measured in what rounding allows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patcher.verify.tolerances import device_tolerance


@dataclass(frozen=True)
class Ran:
    """What a device did, of a child's answer: figures, precision (see `hardware.Precision`), and how far it was off."""

    after: Mapping[str, Any]
    coarsest_dtype: str
    roundings: int
    disagreement: Mapping[str, Any] | None
    failed: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Ran:
        return cls(
            after=answer["after"],
            coarsest_dtype=answer.get("coarsest_dtype", "float32"),
            roundings=answer.get("roundings", 0),
            disagreement=answer.get("disagreement"),
            failed=answer.get("failure") is not None,
        )


def farthest(ran: Sequence[Ran], devices: Sequence[str]) -> dict[str, Any] | None:
    """The `disagreement` of a report: that of the device farthest from the first; None where only one ran."""
    first = ran[0]
    found = []
    for device, one in zip(devices[1:], ran[1:], strict=True):
        pair = (first, one)
        extremes = [abs(side.after.get(key) or 0.0) for side in pair for key in ("min", "max")]
        dtypes = [side.coarsest_dtype for side in pair]
        roundings = max(side.roundings for side in pair)
        tolerances = [device_tolerance(max(extremes), dtype, roundings) for dtype in dtypes]
        compared = None if first.failed or one.failed else one.disagreement
        found.append(
            {
                "largest": compared["largest"] if compared else None,
                "tolerance": max(tolerances),
                "between": [devices[0], device],
                "texts": compared["texts"] if compared else 0,
                "dtype": dtypes[tolerances.index(max(tolerances))],
                "roundings": roundings,
                "largest_logit": max(extremes),
            }
        )
    if not found:
        return None

    def excess(one: Mapping[str, Any]) -> float:
        value = one["largest"]
        return float("inf") if value is None or value != value else value / (one["tolerance"] or float("inf"))

    worst = max(found, key=excess)
    finite = worst["largest"] is not None and worst["largest"] == worst["largest"]
    return {**worst, "largest": worst["largest"] if finite else None}
