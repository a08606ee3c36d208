"""The soft cap as a value, which plans, records and reports hold; it is found and removed in `codemods/`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SoftCap:
    """A cap as found in the code: `scale * kind(x / temperature)` with kind sigmoid or tanh. `line` counts from 1.

    Without the cap the model gives x - shift; `shift` is 0 unless a calibration asked for another one.
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
