"""What to do next: the last lines of each command, on stderr, with a command to copy or a file to open."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.constants import PAGE, RECORD, REPORT

if TYPE_CHECKING:
    from patcher.planning.plan import Plan
    from patcher.publish import Checked, PublishPlan
    from patcher.threshold.report import ThresholdReport
    from patcher.verify.report import Report


def command(*words: object) -> str:
    """The line that tells the next command."""
    return f"next: {shlex.join(['patcher', *(str(word) for word in words)])}"


def after_plan(plan: Plan, source: str, options: Sequence[str]) -> Iterator[str]:
    """Patch what was planned, as it was planned; or go on with a model that was patched before."""
    if plan.nothing_to_do is None:
        yield command("patch", source, *options, "--trust-remote-code")
    elif repairs := _pending(plan):
        plural = "s" * (len(repairs) > 1)
        yield f"Its code still needs the codemod{plural} {', '.join(repairs)} to load on transformers 5."
        yield command("patch", source, "--codemod", "repairs", "--trust-remote-code")
    elif plan.already_patched and plan.source.folder and (plan.source.folder / RECORD).is_file():
        yield command("verify", plan.source.folder)
    elif plan.already_patched and plan.source.repo_id is not None:
        yield command("check", plan.source)


def after_report(report: Report | None, folder: Path, *, code_only: bool = False) -> Iterator[str]:
    """Read the report and publish what passed; verify what was not run."""
    if report is not None:
        yield f"report: {folder / PAGE if (folder / PAGE).is_file() else folder / REPORT}"
    if report is None and not code_only:
        yield command("verify", folder)
    elif report is None or report.passed:
        unverified = ["--unverified"] if report is None else []
        yield command("publish", folder, f"YOUR_NAME/{folder.resolve().name}", "--dry-run", *unverified)


def after_dry_run(plan: PublishPlan, words: Sequence[str]) -> Iterator[str]:
    """The same words without `--dry-run`, where there is anything to publish."""
    if plan.operations or plan.tag_missing:
        yield command(*(word for word in words if word != "--dry-run"))


def after_threshold(report: ThresholdReport, words: Sequence[str], saved: Path | None) -> Iterator[str]:
    """Use what was saved, save what passed, take a cap off that does not fit, or sweep."""
    if saved is not None:
        yield command("export", saved, "--trust-remote-code")
    elif report.fit == "without_cap":
        yield command("patch", str(report.source), "--out", "DIR", "--trained-without-cap")
    elif report.capped and (report.passed or not report.swept):
        yield command(*words, *(["--save", "DIR"] if report.passed else ["--sweep"]))


def after_check(found: Checked) -> Iterator[str]:
    """Where to read the model that was checked."""
    if found.passed:
        yield f"page: {hub_page(found.repo_id, found.commit, 'tree')}"
    elif found.outcome == "failed":
        yield f"{command('publish', 'DIR', found.repo_id, '--dry-run')}  (shows what would restore it)"
    else:
        yield f"{command('check', found.repo_id)}  (again, once the Hub answers)"


def _pending(plan: Plan) -> list[str]:
    """The codemods that a model whose cap is gone still needs."""
    return sorted({one.name for one in plan.codemods if one.status == "applied"}) if plan.already_patched else []


def hub_page(repo_id: str, revision: str | None, what: str) -> str:
    """The address of a revision on the Hub: `what` is "tree" for its files, or "blob/PATH" for one of them."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    kind, _, path = what.partition("/")
    return "/".join(filter(None, (endpoint, repo_id, kind, revision, path)))
