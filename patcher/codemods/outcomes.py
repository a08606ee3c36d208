"""What a codemod gives back: applied, not needed, left alone or refused."""

from __future__ import annotations

from dataclasses import dataclass

from patcher.soft_cap import SoftCap


@dataclass(frozen=True)
class Span:
    """Lines first..last (from 1, both included) of the old file that a codemod means to change."""

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
    """Nothing to do, and why."""

    reason: str
    soft_cap: SoftCap | None = None


@dataclass(frozen=True)
class LeftAlone:
    """Found and left unchanged on purpose, and why."""

    reason: str
    soft_cap: SoftCap


@dataclass(frozen=True)
class Refused:
    """The code to change is missing, ambiguous or not understood; nothing was changed. `name` never changes."""

    name: str
    reason: str


Outcome = Applied | NotNeeded | LeftAlone | Refused
