"""Runs a verification inside the test's process: the same steps as `verify`, without the price of a new one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from patcher.patching.record import PatchedModel, load
from patcher.pipeline.api import patch_model
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from patcher.verify.measure.logits import measure
from patcher.verify.report import Report
from patcher.verify.requests import prepare
from patcher.verify.settings import Verification
from patcher.verify.texts import ProbeText, load_probe_texts
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
    "modes_agree",
]
CAP = "subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)"
REPAIRS = Options.choose(["repairs"])


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
    """Names of the checks that did not pass, but for `files_unchanged`: most of these tests edit a folder."""
    return {check.name for check in report.checks if not check.passed} - {"files_unchanged"}


def edit(folder: Path, old: str, new: str, count: int = -1) -> None:
    """Replace text in the code of a folder."""
    path = folder / "modeling_gptbert.py"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), "utf-8")


def alter(folder: Path, name: str, value: float) -> None:
    """Change one number of a weight of a folder."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[7] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def two_runs(folder: Path, other: Path, scratch: Path, *dtypes: str) -> Report:
    """The first folder in the first dtype against the other folder in the second one, all on the CPU."""
    asked = Verification(load_probe_texts()[:12], devices=("cpu", "cuda"))
    answers = []
    reference = None
    for number, (place, dtype) in enumerate(zip((folder, other), dtypes, strict=True)):
        request = replace(prepare(load(place), scratch / str(number), asked, "cpu", reference), dtype=dtype)
        answers.append(measure(request))
        reference = scratch / "0" / "digest"
    return evaluate(load(folder), answers, hash_folder(folder), asked)


def repaired(folder: Path, out: Path, options: Options = REPAIRS) -> Path:
    """A folder whose code is repaired and whose cap stays."""
    snapshot = resolve(str(folder))
    made = patch_model(make_plan(snapshot, options), snapshot, out, None).folder
    assert made is not None
    return made
