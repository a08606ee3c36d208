"""A patched model and its measurements, made up: what judging needs, without a file and without torch."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from patcher.codemods.outcomes import SoftCap
from patcher.patching.record import Converted, FileRecord, PatchedModel, Tool
from patcher.planning.rewriting import Options
from patcher.source.snapshot import Source
from patcher.verify import Report, Verification, conclude
from patcher.verify.checks import Measured

GOOD = Measured(
    not_finite=0,
    positions=100,
    tensors=50,
    tensors_changed=(),
    buffers=8,
    buffers_wrong=(),
    cap_error=0.0,
    predictions_changed=0,
    before={"negative_fraction": 0.0, "logit_sparsity": 0.0},
    after={"negative_fraction": 0.99, "logit_sparsity": 0.99, "min": -64.0, "max": 8.0},
    environment={},
)
MODEL = PatchedModel(
    folder=Path("folder"),
    source=Source(None, None, "source"),
    options=Options(),
    soft_cap=SoftCap("Model", "forward", "modeling.py", 1, "30 * torch.sigmoid(logits / 7.5)", 30.0, 7.5),
    files=(FileRecord("model.safetensors", "copied", "a", "a", 1),),
    originals={},
    diff="",
    tool=Tool("splade-patcher"),
    codemods=(),
    base_card={},
)
CONVERTED = replace(
    MODEL,
    files=(FileRecord("model.safetensors", "converted", "pickled", "a", 1, "pytorch_model.bin"),),
    converted=(Converted("model.safetensors", "pytorch_model.bin", 50),),
)
FILES = {"model.safetensors": "a"}
DEVICES = ("cpu", "cuda", "mps")


def judged(*measured: Measured, model: PatchedModel = MODEL, files: dict[str, str] = FILES) -> Report:
    """The report on what each of the first `DEVICES` measured."""
    answers: list[dict[str, Any]] = [asdict(one) for one in measured]
    return conclude(model, answers, files, Verification((), devices=DEVICES[: len(measured)]))
