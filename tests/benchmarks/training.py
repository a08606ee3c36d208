"""The training script against a plain script of sentence-transformers with the same settings, rows and evaluation.

CPU seconds are those of `trainer.train`, with one evaluation and one checkpoint at its end; memory is the peak of the
whole process with 300,000 rows, which both map from the file that `load_dataset` makes in a first run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.benchmarks.processes import ROOT, Run, python
from tests.benchmarks.shapes import Pair
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop
from tests.snapshots.corpus.pairs import Split, pairs

TEMPLATES = ROOT / "templates"
COLUMNS = {"query": "query", "positive": "positive", "negatives": ["negative"]}
ROWS, WORDS = 300_000, 80  # of a passage; with two passages a row has 1.3 kB


def cpu(workshop: Workshop, steps: int = 60) -> Iterator[Comparison]:
    rows = _write(workshop.root / "train.jsonl", "train", 1000)
    ours, plain = zip(*_runs(workshop, workshop.miniature, rows, steps), strict=True)
    seconds = [[json.loads(run.output.splitlines()[-1])["cpu"] / steps for run in side] for side in (ours, plain)]
    yield Comparison("training against a plain script: CPU time of a step", *seconds, "s", 1.03)


def memory(workshop: Workshop, count: int = ROWS) -> Iterator[Comparison]:
    rows = workshop.root / "many.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for number in range(count):
            query, positive, negative = (_text(3 * number + n, WORDS if n else 10) for n in range(3))
            file.write(json.dumps({"query": query, "positive": positive, "negative": negative}) + "\n")
    ours, plain = zip(*_runs(workshop, workshop.miniature, rows, steps=1), strict=True)
    peaks = [[float(run.peak) for run in side] for side in (ours, plain)]
    yield Comparison(f"training on {count:,} rows against a plain script: memory", *peaks, "B", 1.1)


def _runs(workshop: Workshop, pair: Pair, rows: Path, steps: int) -> list[tuple[Run, Run]]:
    held_out = _write(workshop.root / "eval.jsonl", "test", 20)
    folder = workshop.root / f"training-{steps}"
    config = {
        "model": {"base_model": str(pair.patched), "trust_remote_code": True, "max_seq_length": 64},
        "datasets": [
            {"name": "train", "source": str(rows), "columns": COLUMNS},
            {"name": "eval", "source": str(held_out), "columns": COLUMNS, "eval_share": 1},
        ],
        "training": {
            "output_dir": str(folder / "ours"),
            "max_steps": steps,
            "learning_rate": 1e-3,
            "batch_sampler": "batch_sampler",
            "logging_steps": 5,
            "eval_steps": steps,
            "save_steps": steps,
            "precision": "fp32",
        },
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
    # Each run starts anew: an output folder with a trained model would be completed only.
    anew = ["sh", "-c", 'rm -rf "$0"; exec "$@"']
    ours = python(PROGRAMS / "our_training.py", TEMPLATES, folder / "config.yaml")
    plain = python(PROGRAMS / "plain_training.py", pair.patched, rows, held_out, str(steps), folder / "plain")
    return workshop.alternate([*anew, folder / "ours", *ours], [*anew, folder / "plain", *plain])


def _write(path: Path, split: Split, count: int) -> Path:
    lines = [json.dumps(pair, ensure_ascii=False) for pair in islice(pairs(split), count)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _text(number: int, words: int) -> str:
    """Different words for each number."""
    return " ".join(f"ord{(number * 31 + position * 7919) % 100_003}" for position in range(words))
