"""Runs a verification inside the test's process: the same steps as `verify`, without the price of a new one."""

from __future__ import annotations

from pathlib import Path

from patcher.patch import PatchedModel, load
from patcher.verify import MIN_LOGIT_SPARSITY, Report, conclude, hash_folder, prepare
from patcher.verify.child import measure

TEXTS = (
    "Oslo er hovedstaden i Norge.",
    "Fjorden ligg stille om morgonen, og båtane kviler ved kaia.",
    "Hun leste en bok om fjell og daler mens regnet trommet mot ruten hele den lange kvelden.",
)
CHECKS = [
    "weights_unchanged",
    "buffers_rebuilt",
    "cap_removed_exactly",
    "predictions_unchanged",
    "negative_logits",
    "relu_sparsity",
]


def report_on(folder: Path, scratch: Path, model: PatchedModel | None = None) -> Report:
    """Verify a patched folder; `model` stands in for the record in it."""
    model = model or load(folder)
    answer = measure(prepare(model, scratch, TEXTS, "cpu"))
    return conclude(model, answer, hash_folder(folder), len(TEXTS), MIN_LOGIT_SPARSITY)


def failed(report: Report) -> set[str]:
    """Names of the checks that did not pass."""
    return {check.name for check in report.checks if not check.passed}
