"""What the parent and the child of a conversion tell each other; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conversion:
    """A pickle to read and the safetensors file to write; both are absolute paths."""

    origin: str
    target: str


@dataclass(frozen=True)
class ConversionRequest:
    """The files to convert."""

    files: tuple[Conversion, ...]


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


@dataclass(frozen=True)
class ConversionAnswer:
    """What became of each file, in the order of the request."""

    files: tuple[ConvertedFile, ...]
