"""Runs a verification inside the test's process: the same steps as `verify`, without the price of a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from patcher.patching.record import PatchedModel, load
from patcher.verify.measure.logits import measure
from patcher.verify.report import Report
from patcher.verify.requests import prepare
from patcher.verify.settings import Verification
from patcher.verify.texts import ProbeText
from patcher.verify.verification import evaluate, hash_folder

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


def wanted(*texts: str, **keywords: Any) -> Verification:
    """A verification on the CPU, of `TEXTS` where no others are given."""
    fields = {"id": "", "language": "nb", "text": "", "kind": "own", "source": "", "licence": ""}
    known = {name: value for name, value in fields.items() if name in ProbeText.__dataclass_fields__}
    probes = tuple(
        ProbeText(**{**known, "id": f"text-{number}", "text": text}) for number, text in enumerate(texts or TEXTS, 1)
    )
    return Verification(probes, **{"devices": ("cpu",), **keywords})


def report_on(folder: Path, scratch: Path, model: PatchedModel | None = None, **keywords: Any) -> Report:
    """Verify a patched folder; `model` stands in for the record in it, `keywords` are those of `wanted`."""
    model, asked = model or load(folder), wanted(**keywords)
    answer = measure(prepare(model, scratch, asked, "cpu"))
    return evaluate(model, [answer], hash_folder(folder), asked)


def failed(report: Report) -> set[str]:
    """Names of the checks that did not pass."""
    return {check.name for check in report.checks if not check.passed}
