"""How far the logits of two devices lie apart: the first process leaves its own in a file, the next one reads them."""

from __future__ import annotations

from pathlib import Path

import torch

from patcher.verify.measure.terms import PROBE_TEXTS

TEXTS = PROBE_TEXTS  # texts that are compared, in whole


class Agreement:
    """Writes the patched model's largest raw logit of every dimension, for the first texts, or compares with them.

    Over all positions of a text the largest logits of two devices differ by no more than their logits do, so this
    misses nothing that reaches a SPLADE vector, and costs one row of the vocabulary per text (float32) instead of one
    per token.
    """

    def __init__(self, write: str | None, read: str | None) -> None:
        self._write, self._read = write, read
        if write:
            Path(write).touch()
        self.largest = 0.0
        self.texts = 0

    def add(self, index: int, raw: torch.Tensor) -> None:
        """Take in the largest logit [vocabulary] of each dimension over the real positions of text `index`."""
        if index >= TEXTS or not (self._write or self._read):
            return
        mine = raw.float().cpu().contiguous()
        place, size = index * mine.numel() * 4, mine.numel() * 4
        if self._write:
            with open(self._write, "r+b") as file:
                file.seek(place)
                file.write(mine.numpy().tobytes())
        if self._read:
            with open(self._read, "rb") as file:
                file.seek(place)
                theirs = torch.frombuffer(bytearray(file.read(size)), dtype=torch.float32)
            apart = float((mine - theirs).abs().amax())
            self.largest = apart if apart != apart or apart > self.largest else self.largest
            self.texts += 1
