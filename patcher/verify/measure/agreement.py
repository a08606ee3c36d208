"""How much the logits of two devices differ: the first process writes its own to a file, the others read them."""

from __future__ import annotations

from pathlib import Path

import torch

from patcher.verify.measure.terms import PROBE_TEXTS
from patcher.verify.messages import Agreement


class Agreements:
    """Writes the largest raw logit of every dimension of the first texts to a file, or compares with those in a file.

    The maxima over a text of two devices differ by at most as much as their logits, so this misses nothing that reaches
    a SPLADE vector. It costs one row of the vocabulary per text (float32) instead of one per token.
    """

    def __init__(self, write: str | None, read: str | None) -> None:
        self._write, self._read = write, read
        if write:
            Path(write).touch()
        self.largest = 0.0
        self.texts = 0

    def add(self, index: int, raw: torch.Tensor) -> None:
        """Add the largest logit of each dimension [vocabulary] over the real positions of text `index`."""
        if index >= PROBE_TEXTS or not (self._write or self._read):
            return
        mine = raw.float().cpu().contiguous()
        offset, size = index * mine.numel() * 4, mine.numel() * 4
        if self._write:
            with open(self._write, "r+b") as file:
                file.seek(offset)
                file.write(mine.numpy().tobytes())
        if self._read:
            with open(self._read, "rb") as file:
                file.seek(offset)
                theirs = torch.frombuffer(bytearray(file.read(size)), dtype=torch.float32)
            difference = float((mine - theirs).abs().amax())
            self.largest = difference if difference != difference or difference > self.largest else self.largest
            self.texts += 1

    def result(self) -> Agreement | None:
        """How much the texts differed; None in the process that wrote the file."""
        return Agreement(self.largest, self.texts) if self._read else None
