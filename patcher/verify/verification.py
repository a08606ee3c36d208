"""Verifies a patched folder: lays out the base model, runs a child process per device, and judges what comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from patcher.constants import CARD, CONFIG, DRAWN, REPORT, TOOL
from patcher.errors import OutputError, VerificationError
from patcher.patching.record import PatchedModel
from patcher.sandbox.guard import Child, ask, left_behind, started
from patcher.source.snapshot import sha256_of
from patcher.verify.capped import verify_capped, write_texts
from patcher.verify.checks import Measured, judge, put_together
from patcher.verify.devices import refuse_wish
from patcher.verify.farthest import Ran, farthest
from patcher.verify.report import DeviceReport, Report
from patcher.verify.settings import MAX_BATCH_TOKENS, MAX_TOKENS, Progress, Verification
from patcher.verify.tolerances import law_tolerance

CHILD = "patcher.verify.measure.child"


def verify(
    model: PatchedModel,
    wanted: Verification,
    child: Child | None = None,
    progress: Progress = lambda *_: None,
) -> Report:
    """Run the base and the patched model on the texts and judge what comes out. Executes the model's code.

    The base model is the code as published, with the loading repairs and with the cap. Its weights are those of the
    source where they are still on this machine, otherwise the folder's own; both are held against the hashes on record.
    A folder whose cap stays has no such base (see `verify_capped`).
    `child` is one that waits already; it serves the first device. `progress` hears device, texts done and texts in all.

    Raises VerificationError where it could not run to its end and UsageError where this machine or the model's code
    does not have what was asked for; a check that fails is in the report.
    """
    if model.code_only:
        raise VerificationError(
            f"{model.folder} holds no weights, so there is nothing to run.",
            "Run `patcher patch` again without --code-only.",
        )
    if model.soft_cap is None:
        return verify_capped(model, wanted, hash_folder(model.folder))
    answers: list[dict[str, Any]] = []
    with ThreadPoolExecutor(1) as pool:  # hashes while the child imports its libraries
        hashing = pool.submit(hash_folder, model.folder)
        with ExitStack() as running:
            reference: Path | None = None
            for device in wanted.devices:
                if child is None or child.device != device:
                    child = running.enter_context(started(CHILD, device, wanted.start))
                request = prepare(model, child.scratch, wanted, device, reference)
                files = hashing.result()
                answer = ask(child, request, wanted.timeout, _watch(request, device, progress))
                refuse_wish(answer, device, wanted.attention)
                progress(device, request["count"], request["count"])
                answers.append(answer)
                # The first child's folder stays until the last one has compared itself with what it holds.
                reference = reference or (Path(request["digest"]) if request["digest"] else None)
    return conclude(model, answers, files, wanted)


def hash_folder(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a patched folder, except the card, the report and what is drawn from it."""
    root = folder.resolve()
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {
        name: sha256_of(path)
        for name, path in found.items()
        if name not in {CARD, REPORT, *DRAWN} and not {".cache", "__pycache__"}.intersection(Path(name).parts)
    }


def prepare(
    model: PatchedModel, scratch: Path, wanted: Verification, device: str, reference: Path | None = None
) -> dict[str, Any]:
    """Lay out the base model and the texts in `scratch` and say what the child shall do (see `child.measure`).

    `reference` is the file that the child of the first device left behind.
    """
    assert model.soft_cap is not None
    scratch.mkdir(parents=True, exist_ok=True)
    texts = scratch / "texts.jsonl"
    several = len(wanted.devices) > 1
    config = json.loads((model.folder / CONFIG).read_text("utf-8-sig"))
    vocabulary = config.get("vocab_size")
    return {
        "patched": str(model.folder.resolve()),
        # transformers keeps remote code by the folder's name: the two must never have the same one.
        "base": str(_base_folder(model, scratch / f"base-of-{scratch.name}-{token_hex(4)}")),
        "weights": [str(model.source_weights(file)) for file in model.weights],
        "auto_class": auto_class(config),
        "vocabulary": vocabulary if isinstance(vocabulary, int) else 0,
        "texts": str(texts),
        "count": write_texts(wanted.texts, texts),
        "scale": model.soft_cap.scale,
        "temperature": model.soft_cap.temperature,
        "kind": model.soft_cap.kind,
        "shift": model.soft_cap.shift,
        "device": device,
        "dtype": wanted.dtype,
        "attention": wanted.attention,
        "batch_size": wanted.batch_size,
        "max_batch_tokens": MAX_BATCH_TOKENS,
        "max_tokens": MAX_TOKENS,
        "sparse_encoder": wanted.sparse_encoder,
        "gate": wanted.min_logit_sparsity,
        "progress": str(scratch / "progress"),
        "digest": str(scratch / "digest") if several and reference is None else None,
        "reference": str(reference) if reference is not None else None,
    }


def auto_class(config: Mapping[str, Any]) -> str:
    """The Auto class that gives a model its vocabulary head: the masked one where there is one, else the causal one."""
    masked = "AutoModelForMaskedLM"
    named = str((config.get("architectures") or [""])[0])
    if masked in (config.get("auto_map") or {}) or named.endswith("ForMaskedLM"):
        return masked
    return "AutoModelForCausalLM"


def conclude(
    model: PatchedModel, answers: list[dict[str, Any]], files: Mapping[str, str], wanted: Verification
) -> Report:
    """Judge what the children measured, one answer per device, together with the hashes of the weight files."""
    assert model.soft_cap is not None
    changed = tuple(file.path for file in model.weights if files.get(file.path) != file.carried)
    measured = [Measured(**answer) for answer in answers]
    parts = [
        DeviceReport(
            environment=one.environment,
            checks=judge(
                one,
                changed,
                wanted.min_logit_sparsity,
                law_tolerance(model.soft_cap.scale, one.head_dtype, model.soft_cap.shift),
                shifted=bool(model.soft_cap.shift),
            ),
            before=one.before,
            after=one.after,
            sparse_encoder=one.sparse_encoder,
        )
        for one in measured
    ]
    disagreement = farthest([Ran.of(answer) for answer in answers], wanted.devices)
    return put_together(model, parts, disagreement, files, len(wanted.texts), measured[0].probe_texts)


def _watch(request: Mapping[str, Any], device: str, progress: Progress) -> Callable[[], None]:
    path = Path(request["progress"])
    done = 0

    def watch() -> None:
        nonlocal done
        with suppress(ValueError):  # half written, or not there yet: libraries and weights come first
            done = max(done, int(left_behind(path, 20)))
        progress(device, min(done, request["count"]), request["count"])

    return watch


def base_code(model: PatchedModel) -> dict[str, bytes]:
    """The code and the configuration of the base model: as published, with the loading repairs and with the cap.

    Raises OutputError where the record does not hold that code.
    """
    folder = model.folder
    if model.base is None:
        raise OutputError(
            f"{folder} was written by an earlier version of {TOOL}, whose record lacks the code of the base model.",
            "Make the folder again with `patcher patch`.",
        )
    modules = {
        file.path: model.originals.get(file.path) or (folder / file.path).read_bytes()
        for file in model.files
        if file.path.endswith(".py")
    }
    return {**modules, **model.base, CONFIG: model.originals.get(CONFIG) or (folder / CONFIG).read_bytes()}


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
