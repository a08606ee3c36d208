"""Verifies a patched folder: lays out the base model, runs a child process per device, and judges the answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

from patcher.codec import to_json
from patcher.constants import CARD, CONFIG, DRAWN, REPORT, TOOL
from patcher.errors import OutputError, VerificationError
from patcher.patching.record import PatchedModel
from patcher.sandbox.guard import Child, ask, left_behind, started
from patcher.source.snapshot import sha256_of
from patcher.verify import kept_cap
from patcher.verify.checks import build_report, changed_files, judge
from patcher.verify.devices import check_available, check_sentence_transformers
from patcher.verify.disagreement import worst_disagreement
from patcher.verify.messages import (
    CapFunction,
    KeptCapMeasured,
    LogitFigures,
    Measured,
    PairMeasured,
    PairRequest,
    Request,
)
from patcher.verify.report import DeviceReport, Report
from patcher.verify.requests import common_fields
from patcher.verify.settings import MAX_BATCH_TOKENS, Progress, Verification
from patcher.verify.tolerances import cap_tolerance

CHILD = "patcher.verify.measure.pair"

M = TypeVar("M", bound=Measured)
Prepare = Callable[[PatchedModel, Path, Verification, str, "Path | None"], Request]


def verify(
    model: PatchedModel,
    settings: Verification,
    child: Child | None = None,
    progress: Progress = lambda *_: None,
) -> Report:
    """Run the base and the patched model on the texts and judge the result. Executes the model's code.

    The base model is the published code with the loading repairs and with the cap. Its weights are those of the source
    if they are still on this machine, otherwise the folder's own; both are compared with the recorded hashes. A folder
    whose cap stays has no such base (see `kept_cap`).
    `child` is a process that is waiting already; it serves the first device. `progress` gets the device, the number of
    texts that are done, and their total.

    Raises VerificationError if it could not run to its end, and UsageError if this machine or the model's code lacks
    what was asked for; a check that fails is in the report.
    """
    if model.code_only:
        raise VerificationError(
            f"{model.folder} holds no weights, so there is nothing to run.",
            "Run `patcher patch` again without --code-only.",
        )
    if settings.sparse_encoder:
        check_sentence_transformers("--sparse-encoder needs")
    with ThreadPoolExecutor(1) as pool:  # hashes while the child imports its libraries
        hashing = pool.submit(hash_folder, model.folder)
        if model.soft_cap is None:
            prepare_kept_cap, module = kept_cap.prepare_kept_cap, kept_cap.CHILD
            kept = _measure(model, settings, prepare_kept_cap, KeptCapMeasured, module, child, progress, hashing)
            return kept_cap.evaluate_kept_cap(model, kept, hashing.result(), settings)
        measured = _measure(model, settings, prepare, PairMeasured, CHILD, child, progress, hashing)
        return evaluate(model, measured, hashing.result(), settings)


def _measure(
    model: PatchedModel,
    settings: Verification,
    prepare_request: Prepare,
    answer: type[M],
    module: str,
    child: Child | None,
    progress: Progress,
    hashing: Future[dict[str, str]],
) -> list[M]:
    """Run a child for each device, one after another, and return their answers."""
    answers: list[M] = []
    with ExitStack() as running:
        reference: Path | None = None
        for device in settings.devices:
            if child is None or (child.module, child.device) != (module, device):
                child = running.enter_context(started(module, device))
            request = prepare_request(model, child.scratch, settings, device, reference)
            hashing.result()  # before the model's code runs
            found = ask(child, request, answer, settings.timeout, _watch(request, progress))
            check_available(found, device, settings.attention)
            progress(device, request.count, request.count)
            answers.append(found)
            # The first child's folder stays until the last one has compared its logits with those in it.
            reference = reference or (Path(request.digest) if request.digest else None)
    return answers


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
    model: PatchedModel, scratch: Path, settings: Verification, device: str, reference: Path | None = None
) -> PairRequest:
    """Lay out the base model and the texts in `scratch` and make the request of the child.

    `reference` is the file that the child of the first device wrote.
    """
    assert model.soft_cap is not None
    common = common_fields(settings, scratch, device, reference)
    cap, config = model.soft_cap, json.loads((model.folder / CONFIG).read_text("utf-8-sig"))
    vocabulary = config.get("vocab_size")
    return PairRequest(
        **common,
        patched=str(model.folder.resolve()),
        # transformers keeps remote code by the folder's name: the two must never have the same one.
        base=str(_base_folder(model, scratch / f"base-of-{scratch.name}-{token_hex(4)}")),
        weights=tuple(str(model.source_weights(file)) for file in model.weights),
        auto_class=auto_class(config),
        vocabulary=vocabulary if isinstance(vocabulary, int) else 0,
        cap=CapFunction(cap.kind, cap.scale, cap.temperature, cap.shift),
        max_batch_tokens=MAX_BATCH_TOKENS,
        sparse_encoder=settings.sparse_encoder,
        min_logit_sparsity=settings.min_logit_sparsity,
    )


def auto_class(config: Mapping[str, Any]) -> str:
    """The Auto class that gives a model its vocabulary head: the masked one if there is one, else the causal one."""
    masked = "AutoModelForMaskedLM"
    named = str((config.get("architectures") or [""])[0])
    if masked in (config.get("auto_map") or {}) or named.endswith("ForMaskedLM"):
        return masked
    return "AutoModelForCausalLM"


def evaluate(
    model: PatchedModel, measured: Sequence[PairMeasured], files: Mapping[str, str], settings: Verification
) -> Report:
    """Judge what the children measured, one answer per device. `files` are the SHA-256 of the folder's files."""
    assert model.soft_cap is not None
    cap, changed = model.soft_cap, changed_files(model, files)
    devices = [
        DeviceReport(
            environment={
                **to_json(one.environment),
                "attention": settings.attention,
                "batch_size": one.batch_size,
            },
            checks=judge(
                one,
                changed,
                settings.min_logit_sparsity,
                cap_tolerance(cap.scale, one.head_dtype, cap.shift),
                shifted=bool(cap.shift),
            ),
            base=_figures(one.base),
            patched=_figures(one.patched),
            sparse_encoder=to_json(one.sparse_encoder) if one.sparse_encoder else None,
        )
        for one in measured
    ]
    disagreement = worst_disagreement(measured, settings.devices)
    return build_report(model, devices, disagreement, files, len(settings.texts), to_json(measured[0].probe_texts))


def _figures(figures: LogitFigures | None) -> dict[str, Any]:
    return to_json(figures) if figures else {}


def _watch(request: Request, progress: Progress) -> Callable[[], None]:
    done = 0

    def watch() -> None:
        nonlocal done
        with suppress(ValueError):  # partially written, or missing while libraries and weights are loaded
            done = max(done, int(left_behind(Path(request.progress), 20)))
        progress(request.device, min(done, request.count), request.count)

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
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.path in code:
            path.write_bytes(code[file.path])
        else:
            os.symlink((model.folder / file.path).resolve(), path)
    return target
