"""Verifies a folder whose cap stays: the repaired model loads right, gives finite logits, and serves SparseEncoder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from patcher.patching.record import PatchedModel
from patcher.sandbox.guard import run_child
from patcher.verify.checks import put_together
from patcher.verify.devices import refuse_wish
from patcher.verify.farthest import Ran, farthest
from patcher.verify.report import Check, DeviceReport, Report
from patcher.verify.texts import ProbeText

if TYPE_CHECKING:
    from patcher.verify.settings import Verification

CHILD = "patcher.verify.measure.capped_child"
MAX_BATCH_TOKENS, MAX_TOKENS = 2048, 512


def verify_capped(model: PatchedModel, wanted: Verification, files: Mapping[str, str]) -> Report:
    """Load the masked LMs of the folder, run the texts through them and judge. Executes the model's code.

    `files` are the SHA-256 of the folder's files. There is no base model to compare with, as the code as published does
    not load on transformers 5; several devices are held against each other.
    Raises VerificationError where a child could not run to its end, and UsageError where this machine or the model's
    code does not have what was asked for.
    """
    answers: list[dict[str, Any]] = []
    with ExitStack() as kept:
        reference: Path | None = None
        for device in wanted.devices:
            scratch = Path(kept.enter_context(TemporaryDirectory(prefix="patcher-", ignore_cleanup_errors=True)))
            request = prepare_capped(model, wanted, scratch, device, reference)
            answers.append(run_child(CHILD, request, scratch, device, wanted.timeout))
            refuse_wish(answers[-1], device, wanted.attention)
            reference = reference or (Path(request["digest"]) if request["digest"] else None)
    return conclude_capped(model, answers, files, wanted)


def conclude_capped(
    model: PatchedModel, answers: Sequence[Mapping[str, Any]], files: Mapping[str, str], wanted: Verification
) -> Report:
    """Judge what the children measured, one answer per device."""
    parts = [
        DeviceReport(answer["environment"], judge(model, answer, files), before={}, after=answer["after"])
        for answer in answers
    ]
    disagreement = farthest([Ran.of(answer) for answer in answers], wanted.devices)
    return put_together(model, parts, disagreement, files, len(wanted.texts))


def prepare_capped(
    model: PatchedModel, wanted: Verification, scratch: Path, device: str | None = None, reference: Path | None = None
) -> dict[str, Any]:
    """Lay out the masked LMs and the texts in `scratch` and say what the child shall do.

    `device` is the first one that is wanted where it is left out, `reference` the file that its child left behind.
    """
    several = len(wanted.devices) > 1
    scratch.mkdir(parents=True, exist_ok=True)
    encoders = [
        {
            "folder": str(_encoder_folder(model, encoder, scratch / f"encoder-{number}-{token_hex(4)}")),
            "weights": [str(model.source_weights(file)) for file in model.weights_of(encoder)],
        }
        for number, encoder in enumerate(model.encoders or ("",))
    ]
    write_texts(wanted.texts, scratch / "texts.jsonl")
    return {
        "encoders": encoders,
        "sparse_encoder": str(model.folder.resolve()) if wanted.sparse_encoder else None,
        "texts": str(scratch / "texts.jsonl"),
        "device": device or wanted.devices[0],
        "dtype": wanted.dtype,
        "attention": wanted.attention,
        "batch_size": wanted.batch_size,
        "max_batch_tokens": MAX_BATCH_TOKENS,
        "max_tokens": MAX_TOKENS,
        "digest": str(scratch / "digest") if several and reference is None else None,
        "reference": str(reference) if reference is not None else None,
    }


def judge(model: PatchedModel, answer: Mapping[str, Any], files: Mapping[str, str]) -> tuple[Check, ...]:
    """The checks on what the child measured; a failure of the model's code fails them all."""
    failure = answer["failure"]
    if failure is not None:  # the folder may be one that stands beside its place for the time being
        failure = failure.replace(f"{model.folder.resolve()}{os.sep}", "")
    changed = [file.path for file in model.weights if files.get(file.path) != file.carried]
    weights = [*changed, *answer["tensors_changed"]]
    found = [
        ("weights_unchanged", weights, f"of {answer['tensors']} tensors differ from the source"),
        ("buffers_rebuilt", answer["buffers_wrong"], f"of {answer['buffers']} buffers differ from fresh ones"),
        ("logits_finite", answer["not_finite"], f"logits at {answer['positions']} positions are not finite"),
    ]
    if answer["sparse_encoder"] is not None:
        theirs = answer["sparse_encoder"]
        pooled = "pools with SpladePooling" if theirs["splade"] else "does NOT pool with SpladePooling"
        wrong = theirs["not_finite"] + (not theirs["splade"])
        found.append(("sparse_encoder_loads", wrong, f"embedding values are not finite; SparseEncoder {pooled}"))
    return tuple(_check(name, wrong, detail, failure, answer["positions"]) for name, wrong, detail in found)


def _check(name: str, wrong: Sequence[str] | int, detail: str, failure: str | None, positions: int) -> Check:
    if failure is not None:
        return Check(name, False, None, 0, f"the model did not run: {failure}")
    if positions == 0:
        return Check(name, False, None, 0, "no position was measured")
    if isinstance(wrong, int):
        return Check(name, wrong == 0, wrong, 0, detail)
    named = f"{detail}: {', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}" if wrong else detail
    return Check(name, not wrong, len(wrong), 0, named)


def _encoder_folder(model: PatchedModel, encoder: str, target: Path) -> Path:
    """The folder of a masked LM with its code in it: a sub-folder is laid out anew, with links to what it holds."""
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


def write_texts(texts: Iterable[ProbeText], path: Path) -> int:
    """One JSON object per line with id, language and text; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for one in texts:
            file.write(json.dumps({"id": one.id, "language": one.language, "text": one.text}) + "\n")
            count += 1
    return count
