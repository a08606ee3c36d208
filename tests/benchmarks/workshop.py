"""What the benchmarks share: a folder for their models, made when first asked for, and how many pairs to run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.benchmarks.paired import Command, alternate
from tests.benchmarks.processes import Run, python, run
from tests.benchmarks.shapes import Pair, Shape, patched, patched_miniature

PROGRAMS = Path(__file__).parent / "programs"


@dataclass
class Workshop:
    """`root` is an empty folder that the caller removes; `texts`, a file, stands in for the bundled probe texts."""

    root: Path
    pairs: int = 5
    texts: Path | None = None
    warm_up: bool = True
    _models: dict[Shape, Pair] = field(default_factory=dict)

    @cached_property
    def miniature(self) -> Pair:
        return patched_miniature(self.root)

    def model(self, shape: Shape) -> Pair:
        if shape not in self._models:
            self._models[shape] = patched(shape, self.root)
        return self._models[shape]

    def alternate(self, ours: Command, floor: Command) -> list[tuple[Run, Run]]:
        return alternate(ours, floor, self.pairs, self.root / "homes", self.warm_up)

    def run(self, command: Command) -> Run:
        return run(command, self.root / "home")

    def verify(self, pair: Pair, texts: Path | None = None, *, sparse_encoder: bool = False) -> Command:
        """`patcher verify`, quiet and on the CPU, by default as a user types it who has no sentence-transformers."""
        chosen = texts or self.texts
        encoder = "--sparse-encoder" if sparse_encoder else "--no-sparse-encoder"
        options = ("--trust-remote-code", encoder, "--device", "cpu", "--quiet")
        words = python("-m", "patcher", "verify", pair.patched, *options)
        return [*words, *(["--texts", chosen] if chosen else [])]

    def batches(self, pair: Pair) -> Path:
        """A file with the batches in which `verify` runs the texts."""
        out = self.root / f"batches-{pair.patched.name}.json"
        self.run(python(PROGRAMS / "batches.py", pair.patched, self.texts or "-", out))
        return out

    def floor(self, pair: Pair) -> Command:
        """The least that runs both models on the same batches (see `programs/floor.py`)."""
        return python(PROGRAMS / "floor.py", pair.base, pair.patched, self.batches(pair))

    def write_texts(self, name: str, texts: Sequence[str]) -> Path:
        """A file for `--texts`, and beside it the same as a JSON list."""
        path = self.root / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
        path.with_suffix(".json").write_text(json.dumps(list(texts)), "utf-8")
        return path
