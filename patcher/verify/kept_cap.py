"""Verifies a folder whose cap stays: the repaired model loads right, gives finite logits, and serves SparseEncoder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex

from patcher.codec import to_json
from patcher.patching.record import PatchedModel
from patcher.verify.checks import Judge, build_report, changed_files
from patcher.verify.disagreement import worst_disagreement
from patcher.verify.messages import Encoder, KeptCapMeasured, KeptCapRequest
from patcher.verify.report import Check, DeviceReport, Report
from patcher.verify.requests import common_fields
from patcher.verify.settings import MAX_KEPT_CAP_BATCH_TOKENS, Verification

CHILD = "patcher.verify.measure.kept_cap"


def prepare_kept_cap(
    model: PatchedModel, scratch: Path, settings: Verification, device: str, reference: Path | None = None
) -> KeptCapRequest:
    """Lay out the masked LMs and the texts in `scratch` and make the request of the child.

    `reference` is the file that the child of the first device wrote.
    """
    common = common_fields(settings, scratch, device, reference)
    encoders = tuple(
        Encoder(
            str(_encoder_folder(model, encoder, scratch / f"encoder-{number}-{token_hex(4)}")),
            tuple(str(model.source_weights(file)) for file in model.weights_of(encoder)),
        )
        for number, encoder in enumerate(model.encoders or ("",))
    )
    return KeptCapRequest(
        **common,
        encoders=encoders,
        sparse_encoder=str(model.folder.resolve()) if settings.sparse_encoder else None,
        max_batch_tokens=MAX_KEPT_CAP_BATCH_TOKENS,
    )


def evaluate_kept_cap(
    model: PatchedModel, measured: Sequence[KeptCapMeasured], files: Mapping[str, str], settings: Verification
) -> Report:
    """Judge what the children measured, one answer per device.

    There is no base model to compare with, because the published code does not load on transformers 5.
    """
    devices = [
        DeviceReport(
            environment={**to_json(one.environment), "attention": settings.attention},
            checks=judge(model, one, files),
            base={},
            patched=to_json(one.figures) if one.figures else {},
        )
        for one in measured
    ]
    return build_report(model, devices, worst_disagreement(measured, settings.devices), files, len(settings.texts))


def judge(model: PatchedModel, measured: KeptCapMeasured, files: Mapping[str, str]) -> tuple[Check, ...]:
    """The checks on what the child measured. `files` are the SHA-256 of the folder's files."""
    by = Judge(measured.failure, None if measured.positions else "no position was measured")
    positions = f"logits at {measured.positions} positions are not finite"
    checks = [
        *by.loaded(measured, changed_files(model, files)),
        by.none_of("logits_finite", measured.not_finite, positions),
    ]
    if measured.sparse_encoder is not None:
        theirs = measured.sparse_encoder
        pooling = "pools with SpladePooling" if theirs.splade else "does NOT pool with SpladePooling"
        wrong = theirs.not_finite + (not theirs.splade)
        detail = f"embedding values are not finite; SparseEncoder {pooling}"
        checks.append(by.none_of("sparse_encoder_loads", wrong, detail))
    return tuple(checks)


def _encoder_folder(model: PatchedModel, encoder: str, target: Path) -> Path:
    """The folder of a masked LM with its code in it: a sub-folder is laid out in `target`, with links to its files."""
    if not encoder:
        return model.folder.resolve()
    target.mkdir(parents=True)
    prefix = f"{encoder}/"
    names = {file.path: file.path for file in model.files if "/" not in file.path and file.path.endswith(".py")}
    names |= {file.path[len(prefix) :]: file.path for file in model.files if file.path.startswith(prefix)}
    for name, path in names.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink((model.folder / path).resolve(), target / name)
    return target
