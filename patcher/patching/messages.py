"""What the child of a conversion answers; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConvertedFile:
    """What became of one pickle.

    `tensors` counts them; `differing` names those that were read back with another type, shape or byte; `tied` are
    groups of names that shared their memory; `refused` says why the file was not read, or None.
    """

    tensors: int
    differing: tuple[str, ...]
    tied: tuple[tuple[str, ...], ...]
    refused: str | None
