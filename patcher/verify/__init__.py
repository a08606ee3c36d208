"""Proves a patched folder right by running it; everything that imports torch stays in a child process."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from patcher.errors import VerificationError
from patcher.patch import PatchedModel
from patcher.plan import CARD, REPORT, rewrite_code
from patcher.snapshot import sha256_of
from patcher.verify.capped import verify_capped
from patcher.verify.checks import MIN_LOGIT_SPARSITY, Measured, judge, weights_converted
from patcher.verify.guard import TIMEOUT, Runner, run_child
from patcher.verify.report import Check, Report, load_report

MAX_TOKENS = 512
BATCH_SIZE = 4


def verify(
    model: PatchedModel,
    texts: Sequence[str],
    device: str = "auto",
    min_logit_sparsity: float = MIN_LOGIT_SPARSITY,
    timeout: float = TIMEOUT,
    sparse_encoder: bool = False,
    run: Runner = run_child,
) -> Report:
    """Run the base and the patched model on the texts and judge what comes out. Executes the model's code.

    The base model is the code as published, with the loading repairs and with the cap. Its weights are those of the
    source where they are still on this machine, otherwise the folder's own; both are held against the hashes on record.

    A folder whose cap stays has no such base: see `verify_capped`. `run` starts the child process.

    Raises VerificationError where it could not run to its end; a check that fails is in the report.
    """
    if model.code_only:
        raise VerificationError(
            f"{model.folder} holds no weights, so there is nothing to run.",
            "Run `patcher patch` again without --code-only.",
        )
    files = hash_folder(model.folder)
    if model.soft_cap is None:
        return verify_capped(model, texts, device, timeout, sparse_encoder, files, run)
    with tempfile.TemporaryDirectory(prefix="patcher-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        request = prepare(model, scratch, texts, device, sparse_encoder)
        answer = run("patcher.verify.child", request, scratch, device, timeout)
    return conclude(model, answer, files, len(texts), min_logit_sparsity)


def hash_folder(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a patched folder, except the card and the report, which are about the others."""
    root = folder.resolve()
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {
        name: sha256_of(path)
        for name, path in found.items()
        if name not in {CARD, REPORT} and not {".cache", "__pycache__"}.intersection(Path(name).parts)
    }


def prepare(
    model: PatchedModel, scratch: Path, texts: Sequence[str], device: str, sparse_encoder: bool = False
) -> dict[str, Any]:
    """Lay out the base model in `scratch` and say what the child shall do (see `child.measure`)."""
    assert model.soft_cap is not None
    return {
        "patched": str(model.folder.resolve()),
        # transformers keeps remote code by the folder's name: the two must never have the same one.
        "base": str(_base_folder(model, scratch / f"base-of-{scratch.name}-{token_hex(4)}")),
        "weights": [str(model.source_weights(file)) for file in model.weights],
        "texts": list(texts),
        "scale": model.soft_cap.scale,
        "temperature": model.soft_cap.temperature,
        "kind": model.soft_cap.kind,
        "shift": model.soft_cap.shift,
        "device": device,
        "batch_size": BATCH_SIZE,
        "max_tokens": MAX_TOKENS,
        "sparse_encoder": sparse_encoder,
    }


def conclude(
    model: PatchedModel, answer: Mapping[str, Any], files: Mapping[str, str], texts: int, min_logit_sparsity: float
) -> Report:
    """Judge what the child measured, together with the hashes of the weight files."""
    cap_error = float("nan") if answer["cap_error"] is None else answer["cap_error"]
    measured = Measured(**{**answer, "cap_error": cap_error})
    if measured.failure is not None:  # the folder may be one that stands beside its place for the time being
        measured = replace(measured, failure=measured.failure.replace(f"{model.folder.resolve()}{os.sep}", ""))
    changed = tuple(file.path for file in model.weights if files.get(file.path) != file.carried)
    return Report(
        source=model.source,
        environment=measured.environment,
        checks=(*judge(measured, changed, min_logit_sparsity), *weights_converted(model, files)),
        before=measured.before,
        after=measured.after,
        files=files,
        texts=texts,
        sparse_encoder=measured.sparse_encoder,
    )


def base_code(model: PatchedModel) -> dict[str, bytes]:
    """The code of the base model: as published, with the loading repairs and with the cap."""
    folder = model.folder
    modules = {
        file.path: model.originals.get(file.path) or (folder / file.path).read_bytes()
        for file in model.files
        if file.path.endswith(".py")
    }
    config = json.loads((folder / "config.json").read_text("utf-8-sig"))
    return {**modules, **rewrite_code(modules, config, model.options, keep_cap=True)[0]}


def _base_folder(model: PatchedModel, target: Path) -> Path:
    """A folder of the base model for the child: its code, and links to everything else."""
    code = base_code(model)
    for file in model.files:
        place = target / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.path in code:
            place.write_bytes(code[file.path])
        else:
            os.symlink((model.folder / file.path).resolve(), place)
    return target


__all__ = [
    "MIN_LOGIT_SPARSITY",
    "Check",
    "Report",
    "base_code",
    "conclude",
    "hash_folder",
    "load_report",
    "prepare",
    "verify",
]
