"""A patched model and its measurements, made up: what judging needs, without a file and without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from patcher.patching.record import Converted, FileRecord, PatchedModel, Tool
from patcher.planning.options import Options
from patcher.soft_cap import SoftCap
from patcher.source.snapshot import Source
from patcher.verify.messages import (
    Agreement,
    EncoderLoaded,
    Environment,
    LogitFigures,
    MeanAndMax,
    MeanAndMin,
    ModeResult,
    PairMeasured,
    PatchedFigures,
    SingleMeasured,
)
from patcher.verify.report import Report
from patcher.verify.settings import Verification
from patcher.verify.verification import evaluate

T = TypeVar("T", bound=LogitFigures)
NOTHING: dict[str, Any] = {"tensors": 0, "tensors_changed": (), "buffers": 0, "buffers_wrong": (), "not_finite": 0}


def figures(kind: type[T], negative: float, sparsity: float, **others: Any) -> T:
    """Figures of which only the shares matter."""
    values = {"min": None, "max": None, "histogram": None, "by_length": (), **others}
    averages = {"embedding_sparsity": MeanAndMin(0.9, 0.9), "active_dims": MeanAndMax(1.0, 1)}
    return kind(negative_fraction=negative, logit_sparsity=sparsity, **averages, **values)


def patched(negative: float, sparsity: float) -> PatchedFigures:
    """Figures of a patched model."""
    return figures(PatchedFigures, negative, sparsity, curve=(), shift_to_gate=None)


RIGHT = ModeResult("train", error=0.0, drift=0.0, largest=64.0)
NOT_RUN = ModeResult("attentions", not_run="its code returns none")
GOOD = PairMeasured(
    not_finite=0,
    positions=100,
    tensors=50,
    tensors_changed=(),
    buffers=8,
    buffers_wrong=(),
    cap_error=0.0,
    predictions_changed=0,
    rankings_changed=0,
    batch_size=32,
    base=figures(LogitFigures, 0.0, 0.0),
    patched=figures(PatchedFigures, 0.99, 0.99, min=-64.0, max=8.0, curve=(), shift_to_gate=None),
    environment=Environment("3", "2", "5", "cpu", "float32", "not installed"),
    modes=(RIGHT, NOT_RUN),
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


def judged(*measured: PairMeasured, model: PatchedModel = MODEL, files: dict[str, str] = FILES) -> Report:
    """The report on what each of the first `DEVICES` measured."""
    return evaluate(model, measured, files, Verification((), devices=DEVICES[: len(measured)]))


ROUNDED = replace(GOOD, coarsest_dtype="bfloat16", roundings=64)
LIMIT = 2.0  # eps / 2 of bfloat16 * sqrt(64) * 64, the largest logit


def apart(largest: float, texts: int = 12, **change: Any) -> Any:
    return replace(ROUNDED, agreement=Agreement(largest, texts), **change)


KEPT_CAP = SingleMeasured(
    **NOTHING,
    environment=Environment("3", "2", "5", "cpu", "float32", "not installed"),
    positions=5,
    patched=None,
    modes=(ModeResult("train"),),
    sparse_encoder=EncoderLoaded("6", True, 0),
)
