"""Trains the miniature with its cap and without, and fills the table "metric sparsity" with what is measured.

    python -m tests.training.demo [--steps N] [--seeds 42,43,44] [--out DIR]

Both runs get the same script, settings, seed and data; they differ in the base alone. The figures are those of
`SparseEncoder.sparsity()` and of sentence-transformers' retrieval evaluator. Sparsity and thresholds are measured on
the bundled Norwegian questions, retrieval on these and on questions of the training's kind about things that it
never asked about. Each figure is the mean over the seeds, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from patcher.codec import document, from_json
from patcher.constants import THRESHOLD
from patcher.documents.formatting import percent
from patcher.source.snapshot import resolve
from patcher.threshold.evaluation import load_evaluation
from patcher.threshold.measure import Request, measure
from patcher.threshold.messages import Point
from patcher.threshold.repaired import repair
from tests.snapshots.corpus.pairs import Split, pairs
from tests.training.bases import write_bases

ROOT = Path(__file__).parents[2]
MINI = ROOT / "tests" / "snapshots" / "norbert4-mini"
SCRIPT = ROOT / "templates" / "train_splade.py"
NAMES = ("capped", "patched")
STEPS = 200
SEEDS = [42, 43, 44]
LONGER = "longer training: no threshold gives enough zeros and keeps nDCG@10, MRR@10 and recall@10"
EVALUATED = 120
SPLITS: tuple[tuple[str, Split], ...] = (("train", "train"), ("eval", "test"))
TRAINING = {
    "per_device_train_batch_size": 16,
    "learning_rate": 1e-3,
    "precision": "fp32",
    "seed": 42,
    "resume_from_checkpoint": False,
}
COLUMNS = {"query": "query", "positive": "positive", "negatives": ["negative"]}


@dataclass(frozen=True)
class Result:
    """What was measured of one trained model. Sparsity figures are embedding sparsity, means over texts."""

    evaluation: Mapping[str, Any]
    report: Mapping[str, Any]
    seconds: float

    @property
    def metric(self) -> Mapping[str, Mapping[str, float]]:
        """`SparseEncoder.sparsity()` of the embeddings as they are, for `query` and for `document`."""
        found: Mapping[str, Mapping[str, float]] = self.report["raw_metric"]
        return found

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The figures at the point that the sweep recommends."""
        rows = [*self.report["rows"], *self.report["more_rows"]]
        return next((row for row in rows if row["point"] == self.report["recommended_point"]), None)

    def row(self, threshold: float) -> Mapping[str, Any]:
        """The figures at one threshold; a model without a cap was measured at 0 only."""
        rows = {row["threshold"]: row for row in self.report["rows"]}
        found: Mapping[str, Any] = rows.get(threshold, rows[0.0])
        return found


def write_data(out: Path, held_out: int) -> list[dict[str, Any]]:
    """The `datasets` section: all training pairs, and so many of the test pairs for the evaluation."""
    sets: list[dict[str, Any]] = []
    for key, split in SPLITS:
        path = out / f"{key}.jsonl"
        chosen = islice(pairs(split), held_out if split == "test" else None)
        lines = [json.dumps(pair, ensure_ascii=False) for pair in chosen]
        path.write_text("\n".join(lines) + "\n", "utf-8")
        sets.append({"name": key, "source": str(path), "columns": COLUMNS, "eval_share": int(key == "eval")})
    return sets


def train(name: str, base: Path, data: Sequence[Mapping[str, Any]], out: Path, settings: Mapping[str, Any]) -> None:
    """Run the training script as a user does, in a process of its own that sees no GPU."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    steps = settings["max_steps"]
    config = {
        "model": {"base_model": str(base), "trust_remote_code": True, "max_seq_length": 64},
        "datasets": [dict(one) for one in data],
        "training": {
            "output_dir": str(out),
            "logging_steps": max(1, steps // 10),
            "eval_steps": max(1, steps // 4),
            "save_steps": max(1, steps // 4),
            **settings,
        },
    }
    path = out / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    command = [sys.executable, str(SCRIPT), str(path), *(["--allow-capped"] if name == "capped" else [])]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",  # this family asks torch.cuda.is_available(), not the tensor's device
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": str(out / "modules"),
        "PYTHONPATH": str(ROOT),
        "TOKENIZERS_PARALLELISM": "false",
    }
    with (out / "log.txt").open("wb") as log:
        code = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
    if code:
        raise SystemExit(f"Training the {name} base failed with code {code}.\nRead {out / 'log.txt'}.")


def run(base: Path, out: Path, settings: Mapping[str, Any], held_out: int = EVALUATED) -> dict[str, Result]:
    """Train and measure both models. `out` gets the two bases, the data and a folder for each run."""
    out.mkdir(parents=True, exist_ok=True)
    data, bases = write_data(out, held_out), write_bases(base, out)
    found = {}
    for name in NAMES:
        say(f"Training the {name} base for {settings['max_steps']} steps ...")
        start = time.perf_counter()
        train(name, bases[name], data, out / name, settings)
        seconds = time.perf_counter() - start
        say(f"  {seconds:.0f} s; measuring ...")
        model = repair(resolve(str(out / name / f"{name}-final")))
        report = measure(model, load_evaluation(None, None, None), Request(sweep=True, device="cpu"))
        evaluation = json.loads((out / name / "evaluation.json").read_text("utf-8"))
        found[name] = Result(evaluation, document(report), seconds)
    return found


def table(*runs: Mapping[str, Result]) -> list[tuple[str, str, str]]:
    """The rows of the table, the header first: an aspect, the capped model, the patched one.

    Each run has another seed. Of several, a figure is the mean with the lowest and the highest in brackets.
    """
    capped, patched = ([found[name] for found in runs] for name in NAMES)

    def sparsity(rows: Sequence[Mapping[str, Any]]) -> str:
        return _both([[row[f"{kind}_embedding_sparsity"] for row in rows] for kind in ("query", "document")])

    def metric(results: Sequence[Result]) -> str:
        return _both([[one.metric[kind]["sparsity_ratio"] for one in results] for kind in ("query", "document")])

    def ndcg(when: str) -> list[str]:
        return [_spread([one.evaluation[when]["dot_ndcg@10"] for one in side], _three) for side in (capped, patched)]

    best = [one.best for one in capped if one.best is not None]
    name, swept = " or ".join(dict.fromkeys(map(_name, best))), []
    if len(best) == len(runs) and name != f"{THRESHOLD:g}":
        figure = _spread([row["ndcg@10"] for row in best], _three)
        swept = [
            _functional(name, sparsity(best), "not needed"),
            (f"nDCG@10, bundled questions, threshold {name}", figure, "not needed"),
        ]
    needed = [f"threshold {_name(one.best)}" if one.best else LONGER for one in capped]
    bundled = [_spread([one.row(0.0)["ndcg@10"] for one in side], _three) for side in (capped, patched)]
    at_fixed = sparsity([one.row(THRESHOLD) for one in capped])
    return [
        ("Aspect", "Capped base", "Patched base"),
        ("Metric sparsity, queries / documents", metric(capped), metric(patched)),
        _functional(f"{THRESHOLD:g}", at_fixed, f"{metric(patched)} without threshold"),
        ("Inference requirement", "; ".join(dict.fromkeys(needed)), "no threshold"),
        ("nDCG@10, held-out questions, before training", *ndcg("before")),
        ("nDCG@10, held-out questions, after training", *ndcg("after")),
        ("nDCG@10, bundled questions, after training", *bundled),
        *swept,
    ]


def _spread(values: Sequence[float], written: Callable[[float], str]) -> str:
    """The mean, with the lowest and the highest value where they are written differently."""
    low, high = written(min(values)), written(max(values))
    return low if low == high else f"{written(statistics.fmean(values))} ({low}–{high})"


def _both(queries_and_documents: Sequence[Sequence[float]]) -> str:
    return " / ".join(_spread(values, percent) for values in queries_and_documents)


def _three(value: float) -> str:
    return f"{value:.3f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the header."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.training.demo", description=__doc__)
    parser.add_argument("--base", type=Path, default=MINI, help="the model to start from, with its cap")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "train-demo", help="the folder to write")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps of each run")
    parser.add_argument("--held-out", type=int, default=EVALUATED, help="rows of the evaluations while training")
    parser.add_argument("--seeds", type=_seeds, default=SEEDS, help="one pair of runs for each: 42,43,44")
    options = parser.parse_args(argv)
    runs = {}
    for seed in options.seeds:
        out = options.out / f"seed-{seed}" if len(options.seeds) > 1 else options.out
        say(f"Seed {seed}:")
        settings = {**TRAINING, "max_steps": options.steps, "seed": seed}
        runs[seed] = run(options.base, out, settings, options.held_out)
    rows = table(*runs.values())
    first, *_ = recorded = [{"seed": seed, **_recorded(found)} for seed, found in runs.items()]
    record = {
        "schema_version": 1,
        "steps": options.steps,
        "settings": {**TRAINING, "seed": first["seed"]},
        "table": [dict(zip(rows[0], row, strict=True)) for row in rows[1:]],
        **_recorded(runs[first["seed"]]),
        "seeds": recorded,
    }
    (options.out / "table.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (options.out / "table.md").write_text(markdown(rows), "utf-8")
    print(markdown(rows), end="")
    return 0


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def _recorded(found: Mapping[str, Result]) -> dict[str, Any]:
    return {
        **{name: {"seconds": round(found[name].seconds), "evaluation": found[name].evaluation} for name in NAMES},
        **{f"{name}_threshold_report": found[name].report for name in NAMES},
    }


def _functional(threshold: str, capped: str, patched: str) -> tuple[str, str, str]:
    return (f"Functional sparsity with threshold {threshold}", capped, patched)


def _name(row: Mapping[str, Any]) -> str:
    return str(from_json(Point, row["point"]))


if __name__ == "__main__":
    raise SystemExit(main())
