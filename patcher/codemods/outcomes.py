"""What a codemod gives back: applied, not needed, left alone or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from patcher.codec import json_field


@dataclass(frozen=True)
class SoftCap:
    """A cap as found in the code: `scale * kind(x / temperature)` with kind sigmoid or tanh. `line` counts from 1.

    Without the cap the model gives x - shift; `shift` is 0 unless somebody asked for a calibrated one.
    """

    class_name: str = json_field(key="class")
    function: str = json_field()
    file: str = json_field()
    line: int = json_field()
    expression: str = json_field()
    scale: float = json_field()
    temperature: float = json_field()
    kind: str = "sigmoid"
    shift: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "class": self.class_name,
            "function": self.function,
            "file": self.file,
            "line": self.line,
            "expression": self.expression,
            "scale": self.scale,
            "temperature": self.temperature,
            "kind": self.kind,
            "shift": self.shift,
        }


@dataclass(frozen=True)
class Span:
    """Lines first..last (from 1, both included) of the file that a codemod was given and means to change."""

    first: int
    last: int


@dataclass(frozen=True)
class Applied:
    """The new code, and the lines of the old code that were meant to change."""

    code: bytes
    spans: tuple[Span, ...]
    soft_cap: SoftCap | None = None


@dataclass(frozen=True)
class NotNeeded:
    """Nothing to do here, and why."""

    reason: str
    soft_cap: SoftCap | None = None


@dataclass(frozen=True)
class LeftAlone:
    """Found, and not changed because nobody asked for it; the reason says how to."""

    reason: str
    soft_cap: SoftCap


@dataclass(frozen=True)
class Refused:
    """The place to change is missing, ambiguous or not understood; nothing was changed. `name` is stable."""

    name: str
    reason: str


Outcome = Applied | NotNeeded | LeftAlone | Refused
