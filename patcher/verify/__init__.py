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

from huggingface_hub import try_to_load_from_cache

from patcher.errors import VerificationError
from patcher.patch import PatchedModel
from patcher.plan import CARD, CONFIG, REPORT
from patcher.rewriting import rewrite_code
from patcher.snapshot import sha256_of
from patcher.verify.checks import MIN_LOGIT_SPARSITY, Measured, judge
from patcher.verify.guard import TIMEOUT, run_child
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
) -> Report:
    """Run the base and the patched model on the texts and judge what comes out. Executes the model's code.

    The base model is the code as published, with the loading repairs and with the cap. Its weights are those of the
    source where they are still on this machine, otherwise the folder's own; both are held against the hashes on record.

    Raises VerificationError where it could not run to its end; a check that fails is in the report.
    """
    if model.code_only:
        raise VerificationError(
            f"{model.folder} holds no weights, so there is nothing to run.",
            "Run `patcher patch` again without --code-only.",
        )
    files = hash_folder(model.folder)
    with tempfile.TemporaryDirectory(prefix="patcher-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        request = prepare(model, scratch, texts, device, sparse_encoder)
        answer = run_child("patcher.verify.child", request, scratch, device, timeout)
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
    return {
        "patched": str(model.folder.resolve()),
        # transformers keeps remote code by the folder's name: the two must never have the same one.
        "base": str(_base_folder(model, scratch / f"base-of-{scratch.name}-{token_hex(4)}")),
        "weights": [str(_source_file(model, file.path, file.before)) for file in model.weights],
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
    changed = tuple(file.path for file in model.weights if files.get(file.path) != file.before)
    return Report(
        source=model.source,
        environment=measured.environment,
        checks=judge(measured, changed, min_logit_sparsity),
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
    config_json = model.originals.get(CONFIG) or (folder / CONFIG).read_bytes()
    config = json.loads(config_json)
    return {**modules, **rewrite_code(modules, config, model.options, keep_cap=True, config_json=config_json)[0]}


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


def _source_file(model: PatchedModel, path: str, sha256: str) -> Path:
    """The source's own copy of a weight file where this machine has it unchanged, else the folder's."""
    source = model.source
    found: Path | None = None
    if source.path is not None:
        found = Path(source.path) / path
    elif source.repo_id is not None:
        cached = try_to_load_from_cache(source.repo_id, path, revision=source.revision)
        found = Path(cached) if isinstance(cached, str) else None
    if found is not None and found.is_file() and sha256_of(found) == sha256:
        return found.resolve()
    return (model.folder / path).resolve()


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
