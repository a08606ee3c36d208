"""Verifies a patched folder: runs a child process per device and judges the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from patcher.codec import to_json
from patcher.constants import CARD, DRAWN, REPORT
from patcher.hashing import sha256_of_all
from patcher.patching.record import PatchedModel
from patcher.planning.auto_class import VOCABULARY_HEADS
from patcher.planning.layout import loaded_folders
from patcher.sandbox.bubblewrap import choose_level
from patcher.sandbox.guard import Child, ask, left_behind, started
from patcher.verify.checks import (
    changed_files,
    files_unchanged,
    judge,
    judge_reference,
    judge_single,
    weights_converted,
)
from patcher.verify.messages import LogitsMeasured, OriginalRun, PairMeasured, Request, SingleMeasured
from patcher.verify.original import run_original
from patcher.verify.preconditions import check_folder
from patcher.verify.report import DeviceReport, Report
from patcher.verify.requests import prepare, readable
from patcher.verify.settings import CHILD, Progress, Verification, check_available, check_sentence_transformers
from patcher.verify.tolerances import cap_tolerance, judge_agreement, judge_mode, worst_disagreement


def verify(
    model: PatchedModel, settings: Verification, child: Child | None = None, progress: Progress = lambda *_: None
) -> Report:
    """Run the base and the patched model on the texts and judge the result. Executes the model's code.

    The base model is the published code with the loading repairs and with the cap. Its weights are those of the source:
    the folder's own if they have the recorded hash, else the source's copy if it is still on this machine. A folder
    whose cap stays, or that never had one, has no such base (see `checks.judge_single`). With `settings.reference` the
    published code runs too, on transformers 4.
    `child` is a process that is waiting already; it serves the first device. `progress` gets the device, the number of
    texts that are done, and their total.

    Raises MissingRequirement or SourceError if this machine or the folder lacks what a run needs, VerificationError if
    it could not run to its end, and UsageError for an attention that the model's code lacks; a check that fails is in
    the report.
    """
    if settings.sparse_encoder:
        check_sentence_transformers("--sparse-encoder needs")
    check_folder(model)
    measured: list[LogitsMeasured] = []
    reference: Path | None = None
    original: OriginalRun | None = None
    with ThreadPoolExecutor(1) as pool, ExitStack() as running:
        hashing = pool.submit(hash_folder, model.folder)  # while the child imports its libraries
        for device in settings.devices:
            if child is None or child.device != device:
                shared = [reference] if reference is not None else []
                child = running.enter_context(started(CHILD, device, [*readable(model), *shared], settings.sandbox))
            hashing.result()  # before the model's code runs, and so that no file is hashed twice
            request = prepare(model, child.scratch, settings, device, reference)
            if not measured:
                original = run_original(model, settings, Path(request.original))
            answer = PairMeasured if model.soft_cap else SingleMeasured
            found = ask(child, request, answer, settings.timeout, _watch(request, progress))
            check_available(found, device, settings.attention)
            progress(device, request.count, request.count)
            measured.append(replace(found, denied=child.denied))
            # The first child's folder stays until the last one has compared its logits with those in it.
            reference = reference or (Path(request.digest) if request.digest else None)
        return evaluate(model, measured, hashing.result(), settings, original)


def hash_folder(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a patched folder, except the card, the report and what is drawn from it."""
    root = folder.resolve()
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    hashed = {
        name: path
        for name, path in found.items()
        if name not in {CARD, REPORT, *DRAWN} and not {".cache", "__pycache__"}.intersection(Path(name).parts)
    }
    return dict(zip(hashed, sha256_of_all(hashed.values()), strict=True))


def evaluate(
    model: PatchedModel,
    measured: Sequence[LogitsMeasured],
    files: Mapping[str, str],
    settings: Verification,
    original: OriginalRun | None = None,
) -> Report:
    """Judge what the children measured, one answer per device. `files` are the SHA-256 of the folder's files.

    `original` is the run of the published code on transformers 4, if it was asked for.
    """
    changed = changed_files(model, files)
    folders = loaded_folders(model.folder, [file.path for file in model.files])
    first, *others = (_judge_device(model, one, changed, settings) for one in measured)
    disagreement = worst_disagreement(measured, settings.devices)
    agreement = [judge_agreement(disagreement)] if disagreement else []
    agreement += [judge_reference(measured[0], original)] if original else []
    return Report(
        source=model.source,
        environment=first.environment,
        checks=(*first.checks, *agreement, *weights_converted(model, files), files_unchanged(model, files, folders)),
        base=first.base,
        patched=first.patched,
        files=files,
        texts=len(settings.texts),
        sparse_encoder=first.sparse_encoder,
        probe_texts=tuple(to_json(measured[0].probe_texts)) if isinstance(measured[0], PairMeasured) else (),
        more_devices=tuple(others),
        disagreement=disagreement,
        modes=first.modes,
    )


def _judge_device(
    model: PatchedModel, measured: LogitsMeasured, changed: tuple[str, ...], settings: Verification
) -> DeviceReport:
    environment = {
        **to_json(measured.environment),
        "attention": settings.attention,
        "sandbox": choose_level(settings.sandbox),
        **({"denied": list(measured.denied)} if measured.denied else {}),
    }
    patched = to_json(measured.patched) or {}
    cap = model.soft_cap
    modes = tuple(judge_mode(mode, measured, cap) for mode in measured.modes)
    if isinstance(measured, SingleMeasured):
        checks = judge_single(measured, changed, modes, model.auto_class, drops_bos=model.drops_bos)
        figures = patched if model.auto_class in VOCABULARY_HEADS else {}  # they are figures of logits
        return DeviceReport(environment, checks, base={}, patched=figures, modes=modes)
    assert isinstance(measured, PairMeasured) and cap is not None
    return DeviceReport(
        environment={**environment, "batch_size": measured.batch_size},
        checks=judge(
            measured,
            changed,
            modes,
            settings.min_logit_sparsity,
            cap_tolerance(cap.scale, measured.head_dtype, cap.shift, kept=cap.kept),
            shifted=bool(cap.shift),
            kept=cap.kept,
            drops_bos=model.drops_bos,
        ),
        base=to_json(measured.base) or {},
        patched=patched,
        sparse_encoder=to_json(measured.sparse_encoder),
        modes=modes,
    )


def _watch(request: Request, progress: Progress) -> Callable[[], None]:
    done = 0

    def watch() -> None:
        nonlocal done
        with suppress(ValueError):  # partially written, or missing while libraries and weights are loaded
            done = max(done, int(left_behind(Path(request.progress), 20)))
        progress(request.device, min(done, request.count), request.count)

    return watch
