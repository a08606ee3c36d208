"""The way of the data, from a source to a verified folder with a card; what the commands and scripts call."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher.codec import document
from patcher.constants import CARD, PAGE, SCHEMA_VERSION
from patcher.documents import card, page, plots
from patcher.errors import OutputError
from patcher.patching.convert import Converter
from patcher.patching.record import PatchedModel, load
from patcher.patching.staging import check_output
from patcher.patching.writer import Convert, rewrite, staged_model
from patcher.planning.plan import Plan, make_plan
from patcher.planning.rewriting import Options
from patcher.sandbox.guard import Child, popen, started
from patcher.source.snapshot import Snapshot
from patcher.verify.report import Report
from patcher.verify.settings import Progress, Verification
from patcher.verify.verification import CHILD, verify

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patched:
    """What `patch_model` made: the folder (None where the source was patched before), the plan, and a report if any."""

    folder: Path | None
    plan: Plan
    report: Report | None

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "already_patched": self.plan.already_patched,
            "folder": str(self.folder) if self.folder else None,
            "plan": document(self.plan),
            "report": self.report.as_json() if self.report else None,
        }


def check_place(out: Path, snapshot: Snapshot) -> None:
    """Refuse an output that would cost somebody's work, before anything is done. Raises OutputError."""
    check_output(out)
    if out.is_dir() and not card.is_ours(out / CARD):
        raise OutputError(
            f"{out / CARD} was edited by hand; the folder was left as it is.",
            "Move that file elsewhere, or choose another --out.",
        )
    if snapshot.source.path is not None:
        source, place = Path(snapshot.source.path).resolve(), out.resolve()
        if source == place or source in place.parents or place in source.parents:
            raise OutputError(f"{out} and the source {source} contain each other.", "Choose another --out.")


def patch_model(
    plan: Plan,
    snapshot: Snapshot,
    out: Path,
    verification: Verification | None,
    code_only: bool = False,
    progress: Progress = lambda *_: None,
    convert: Convert = Converter(),
    calibrate: bool = False,
) -> Patched:
    """Write the patched folder, verify it where it stands, write its card, then move it to `out` in one step.

    Pickled weights are converted where there are no others. With `calibrate`, a model that fails the gate on its logit
    sparsity, and nothing else, gets the smallest constant subtracted from its logits that passes it, and is verified
    again.
    """
    # The child imports its libraries while the folder is written; a fork has them already.
    early = verification is not None and verification.start is popen and plan.soft_cap is not None
    waiting = started(CHILD, verification.devices[0]) if verification is not None and early else nullcontext()
    if plan.files.converted:
        logger.info("Converting %s to safetensors ...", ", ".join(list(plan.files.converted.values())[:3]))
    with waiting as child, staged_model(plan, snapshot, out, code_only=code_only, convert=convert) as model:
        report = None
        if verification is not None:
            logger.info("Running %s on %d texts ...", model.what_runs, len(verification.texts))
            report = _run(verification, model, child, progress)
            shift = _shift_to_gate(report) if calibrate else None
            if shift:
                logger.info("Subtracting %g from every logit, and running both again ...", shift)
                plan = make_plan(snapshot, replace(plan.options, shift=shift))
                model = rewrite(plan, model)
                report = _run(verification, model, None, progress)
        describe(model, report, out.name)
    return Patched(out, plan, report)


def _shift_to_gate(report: Report) -> float | None:
    """The constant to subtract, where the gate is all that fails and a constant can help."""
    failed = {check.name for check in report.failed} - {"negative_logits"}
    return report.after.get("shift_to_gate") if failed == {"relu_sparsity"} else None


def verify_folder(
    folder: Path, verification: Verification, child: Child | None = None, progress: Progress = lambda *_: None
) -> Report:
    """Verify a patched folder again: its report is replaced, and its card unless somebody edited that by hand."""
    model = load(folder)
    report = _run(verification, model, child, progress)
    if card.is_ours(folder / CARD):
        describe(model, report, folder.resolve().name)
    else:
        _draw(model, report, folder.resolve().name)
    return report


def describe(model: PatchedModel, report: Report | None, name: str) -> Path:
    """Write what people read: the pictures and the page of the report, and the card, whose path is returned."""
    _draw(model, report, name)
    return card.write(model, report, name)


def _run(verification: Verification, model: PatchedModel, child: Child | None, progress: Progress) -> Report:
    """Verify and write the report."""
    report = verify(model, verification, child, progress)
    report.write(model.folder)
    return report


def _draw(model: PatchedModel, report: Report | None, name: str) -> None:
    drawn = plots.draw(report) if report is not None else {}
    plots.write(drawn, model.folder)
    if report is not None:
        page.write(model, report, drawn, name)
    else:
        (model.folder / PAGE).unlink(missing_ok=True)


__all__ = ["Options", "Patched", "Verification", "check_place", "describe", "patch_model", "verify_folder"]
