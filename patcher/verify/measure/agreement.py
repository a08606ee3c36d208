"""How much the outputs of two processes differ: the first one writes its own to a file, the others read them.

They ran on two devices, or on two versions of transformers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from patcher.verify.measure.batches import Encoded
from patcher.verify.measure.comparison import capped, is_dropped, larger
from patcher.verify.measure.terms import PROBE_TEXTS
from patcher.verify.messages import Agreement, CapFunction, OriginalAgreement


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


class Original:
    """Compares outputs with what the published code gave for the first texts on another transformers.

    `folder` holds a file for each of these texts, see `measure.original`. Tokens that differ, and outputs of another
    shape, count as an infinite difference.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._texts: set[int] = set()
        self._largest = self._scale = 0.0

    def add(
        self, text: Encoded, mine: torch.Tensor, base: torch.Tensor | None = None, cap: CapFunction | None = None
    ) -> None:
        """Add the output [rows, values] for one text.

        With `cap` it is that of a model whose cap was removed, and `base` tells which of its rows were capped. Where
        the first row was dropped, `base` still has the published one.
        """
        path = self._folder / f"{text.index}.safetensors"
        if not path.is_file():
            return
        theirs = load_file(path)
        mine = mine.float()
        if base is not None:
            # A first row that no head computed.
            synthetic = int(torch.equal(base[0].float(), mine[0]) or is_dropped(base[0], mine[0]))
            rest = mine[synthetic:] if cap is None else capped(cap, mine[synthetic:])
            mine = torch.cat([base[:synthetic].float(), rest])
        output, same = theirs["output"], theirs["ids"].tolist() == list(text.ids)
        difference = (mine - output).abs().amax() if same and mine.shape == output.shape else torch.inf
        self._largest = larger(self._largest, float(difference))
        self._scale = larger(self._scale, float(output.abs().amax()))
        self._texts.add(text.index)

    def result(self) -> OriginalAgreement | None:
        """How much the outputs differed; None where there was nothing to compare with."""
        return OriginalAgreement(self._largest, self._scale, len(self._texts)) if self._texts else None
