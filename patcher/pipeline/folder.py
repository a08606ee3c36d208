"""What is done with a folder that was patched: it is verified, and its card, page and plots are written."""

from __future__ import annotations

from pathlib import Path

from patcher.constants import CARD, PAGE
from patcher.documents import card, page, plots
from patcher.patching.record import PatchedModel, load
from patcher.sandbox.guard import Child
from patcher.verify.report import Report
from patcher.verify.settings import Progress, Verification
from patcher.verify.verification import verify

_LARGE = 500_000_000  # bytes of weights beside which what draws takes little memory


def verify_folder(
    folder: Path, verification: Verification, child: Child | None = None, progress: Progress = lambda *_: None
) -> Report:
    """Verify a patched folder again. Replaces its report, and its card unless that was edited by hand.

    Runs the model's code, without another question. `child` is a process that was started before; without one it is
    started here. Raises OutputError for a folder without a record, VerificationError where the model could not be run,
    MissingRequirement where this machine lacks a package or a device.
    """
    model = load(folder)
    report = run(verification, model, child, progress)
    name = folder.resolve().name
    _draw(model, report, name)
    if card.is_ours(folder / CARD):
        card.write(model, report, name)
    return report


def describe(model: PatchedModel, report: Report | None, name: str) -> Path:
    """Write the plots and the page of the report, and the card, whose path is returned."""
    _draw(model, report, name)
    return card.write(model, report, name)


def run(verification: Verification, model: PatchedModel, child: Child | None, progress: Progress) -> Report:
    """Verify a model and write its report."""
    large = sum(file.size for file in model.weights) > _LARGE

    def watch(device: str, done: int, total: int) -> None:
        # While the child still imports its libraries, on one processor; beside few weights the memory would show, and
        # after the texts the child needs less.
        if large or done == total:
            plots.preload()
        progress(device, done, total)

    report = verify(model, verification, child, watch)
    report.write(model.folder)
    return report


def _draw(model: PatchedModel, report: Report | None, name: str) -> None:
    drawn = plots.draw(report) if report is not None else {}
    plots.write(drawn, model.folder)
    if report is not None:
        page.write(model, report, drawn, name)
    else:
        (model.folder / PAGE).unlink(missing_ok=True)
