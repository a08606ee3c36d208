"""The soft cap as a value, which plans, records and reports hold; it is found and removed in `codemods/`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SoftCap:
    """A cap as found in the code: `scale * kind(x / temperature)` with kind sigmoid or tanh. `line` counts from 1.

    Without the cap the model gives x - shift; `shift` is 0 unless a calibration asked for another one. If it is `kept`,
    the model gives cap(x) - shift: activations log(1 + ReLU(x)) of up to log(1 + shift) become 0.
    """

    class_name: str = field(metadata={"json_key": "class"})  # see patcher.codec
    function: str
    file: str
    line: int
    expression: str
    scale: float
    temperature: float
    kind: str = "sigmoid"
    shift: float = 0.0
    kept: bool = False

    @property
    def threshold(self) -> float | None:
        """The activation that a kept cap lowers to 0; None where the cap is removed."""
        return math.log1p(self.shift) if self.kept else None

    @property
    def done(self) -> str:
        """What a patch did to the cap, in words that follow it."""
        return f"is followed by a threshold of {self.threshold:g}" if self.kept else "was removed earlier"
