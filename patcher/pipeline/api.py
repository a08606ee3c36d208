"""The steps from a source to a verified folder with a card; what commands and scripts call."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from patcher.codec import document, json_field
from patcher.constants import CARD
from patcher.documents import card
from patcher.errors import OutputError
from patcher.patching.convert import convert_weights
from patcher.patching.sharing import AUTO
from patcher.patching.staging import check_output
from patcher.patching.writer import rewrite, staged_model
from patcher.pipeline.disk import discard_weights
from patcher.pipeline.folder import describe, run
from patcher.planning.plan import Plan, make_plan, plan_again
from patcher.sandbox.guard import Child, started
from patcher.source.snapshot import Snapshot
from patcher.verify.preconditions import check_snapshot
from patcher.verify.report import Report, document_of
from patcher.verify.settings import CHILD, Progress, Verification

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patched:
    """What `patch_model` made: the folder (None if the source was patched before), the plan, and a report if any."""

    json_properties = ("already_patched",)

    folder: Path | None
    plan: Plan = json_field(write=document)
    report: Report | None = json_field(write=document_of)

    @property
    def already_patched(self) -> bool:
        """Whether the source was patched before."""
        return self.plan.already_patched


def check_out(out: Path, snapshot: Snapshot) -> None:
    """Refuse an output folder that would lose somebody's work, before anything is done. Raises OutputError."""
    check_output(out)
    if out.is_dir() and not card.is_ours(out / CARD):
        why = f"{out / CARD} was edited by hand; the folder was left unchanged."
        raise OutputError(why, "Move that file elsewhere, or choose another --out.")
    if snapshot.source.folder is not None:
        source, target = snapshot.source.folder.resolve(), out.resolve()
        if source == target or source in target.parents or target in source.parents:
            raise OutputError(f"{out} and the source {source} overlap.", "Choose another --out.")


def patch_model(
    plan: Plan,
    snapshot: Snapshot,
    out: Path,
    verification: Verification | None,
    *,
    code_only: bool = False,
    storage: str = AUTO,
    discard_since: float | None = None,
    calibrate: bool = False,
    progress: Progress = lambda *_: None,
) -> Patched:
    """Write the patched folder beside `out`, verify it and write its card there, then move it to `out` in one step.

    With a `verification` the model's code runs, without another question; with None nothing runs. `storage` is "auto",
    "link" or "copy": how the weights get there (docs/lists.md). Pickled weights are converted if there are no
    others. With `discard_since`, seconds since the epoch, weights that the Hub can copy are removed at the end, also
    from the Hub's cache if they were downloaded after that time. With `calibrate`, a model that fails nothing but the
    check of its logit sparsity gets the smallest constant subtracted from its logits that passes it, and is verified
    again. `progress` is called with a device, the texts done and the texts in all.

    A plan that was made without the weights is made again where these, once they are here, are for another class than
    config.json says.

    A failed check is in the report and raises nothing. Raises SourceError for a broken file of the source, or what
    `make_plan` raises, before anything is copied, OutputError where `out` can't be written, VerificationError where the
    model could not be run, MissingRequirement where this machine lacks a package or a device.
    """
    check_source(plan, snapshot, runs=verification is not None)
    if plan.files.converted:
        logger.info("Converting %s to safetensors ...", ", ".join(list(plan.files.converted.values())[:3]))
    sandbox = verification.sandbox if verification is not None else "auto"
    converter = partial(convert_weights, sandbox=sandbox)
    waiting: list[Child] = []
    with ExitStack() as running:

        def start(folders: Iterable[Path]) -> None:
            if verification is not None:  # the child imports its libraries while files are downloaded and written
                waiting.append(running.enter_context(started(CHILD, verification.devices[0], folders, sandbox)))

        def follow(fetched: Snapshot) -> Plan:
            nonlocal plan
            check_source(plan, fetched, runs=verification is not None)
            again = plan_again(plan, fetched)
            if again is not plan:
                logger.info(
                    "The weights are those of %s, not of %s: planned again ...", again.auto_class, plan.auto_class
                )
            plan = again
            return plan

        staged = staged_model(
            plan,
            snapshot,
            out,
            code_only=code_only,
            storage=storage,
            convert=converter,
            on_begin=start,
            on_fetched=follow,
        )
        model = running.enter_context(staged)
        report = None
        if verification is not None:
            logger.info("Running %s on %d texts ...", model.what_runs, len(verification.texts))
            report = run(verification, model, waiting[0], progress)
            shift = _calibrated_shift(report) if calibrate else None
            if shift:
                logger.info("Subtracting %g from every logit, and running both models again ...", shift)
                plan = make_plan(snapshot, replace(plan.options, shift=shift))
                model = rewrite(plan, model)
                report = run(verification, model, None, progress)
        describe(model, report, out.name)
        if discard_since is not None:
            discard_weights(model, discard_since)
    return Patched(out, plan, report)


def check_source(plan: Plan, snapshot: Snapshot, *, runs: bool) -> None:
    """Raise SourceError where a file that the plan needs is broken, or where a model that `runs` has no tokenizer."""
    check_snapshot(snapshot, (*plan.files.changed, *plan.files.copied, *plan.files.converted.values()), runs=runs)


def _calibrated_shift(report: Report) -> float | None:
    """The constant to subtract, if nothing but the logit sparsity fails and a constant can help."""
    failed = {check.name for check in report.failed} - {"negative_logits"}
    return report.patched.get("shift_to_gate") if failed == {"relu_sparsity"} else None
