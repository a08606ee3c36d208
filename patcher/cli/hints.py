"""What to do next: the last lines of each command, on stderr, with a command to copy or a file to open."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.constants import EXPORT_RECORD, PAGE, RECORD, REPORT, THRESHOLD_RECORD, TRAINING_RECORD

if TYPE_CHECKING:
    from patcher.pipeline.family import Outcomes
    from patcher.planning.plan import Plan
    from patcher.publish import Checked, Publication, PublishPlan
    from patcher.threshold.report import ThresholdReport
    from patcher.verify.report import Report


def command(*words: object, label: str = "next") -> str:
    """The line that tells the next command, or another one that may follow."""
    return f"{label}: {shlex.join(['patcher', *(str(word) for word in words)])}"


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
    else:  # neither made by this tool nor to be changed: a model is measured, a base is trained on
        yield command(*(("threshold", source) if plan.encoders else ("templates", "DIR")))


def after_report(report: Report | None, folder: Path, *, code_only: bool = False) -> Iterator[str]:
    """Read the report and publish what passed; verify what was not run."""
    if report is not None:
        yield f"report: {folder / PAGE if (folder / PAGE).is_file() else folder / REPORT}"
    if report is None and not code_only:
        yield command("verify", folder)
    elif report is None or report.passed:
        yield _publish(folder, *(["--unverified"] if report is None else []))


def after_list(outcomes: Outcomes, words: Sequence[str]) -> Iterator[str]:
    """Go on with the first model that was patched; or run the list again, which leaves out what is complete."""
    from patcher.pipeline.family import PATCHED, SKIPPED

    done = next((one for one in outcomes.all if one.status in (PATCHED, SKIPPED)), None)
    if not outcomes.passed:
        yield command(*words)
    elif done is not None:
        yield from after_report(done.report, done.entry.out)
    else:
        yield command("plan", outcomes.all[0].source)


def after_dry_run(plan: PublishPlan, words: Sequence[str]) -> Iterator[str]:
    """The same words without `--dry-run`, where there is anything to publish."""
    if plan.operations or plan.tag_missing:
        yield command(*(word for word in words if word != "--dry-run"))
    else:
        yield _look_at(plan, plan.target.pull_request)


def after_publish(done: Publication) -> Iterator[str]:
    """Check what was published."""
    yield _look_at(done.plan, done.pull_request)


def _look_at(plan: PublishPlan, pull_request: int | None) -> str:
    """Check what is on the Hub; repairs alone bring no record to check it against, but have a page."""
    if plan.options.repairs_only:
        return f"page: {hub_page(plan.repo_id, None, f'discussions/{pull_request}' if pull_request else '')}"
    at = f"refs/pr/{pull_request}" if pull_request else plan.options.revision
    return command("check", plan.repo_id, *(["--revision", at] if at else []))


def after_threshold(report: ThresholdReport, words: Sequence[str], saved: Path | None) -> Iterator[str]:
    """Publish what passed and was saved, use or save what passed, or run again what may pass then."""
    model = str(report.source)
    failed = {check.name for check in report.checks if not check.passed}
    if report.passed and saved is not None:
        yield _publish(saved)
        yield command("export", saved, "--trust-remote-code", label="or")
    elif report.passed:
        encode = ("encode", model, "TEXTS.jsonl", "--to", "parquet")
        yield command(*words, "--save", "DIR") if report.capped else command(*encode)
    elif report.fit == "without_cap":
        yield command("patch", model, "--out", "DIR", "--trained-without-cap")
    elif failed & {"loads_right", "embeddings_finite"}:
        yield command("plan", model)
    elif not report.capped:
        yield "Its vectors are not sparse without a threshold: train it with a stronger regularizer."
        yield command("templates", "DIR")
    elif not report.swept:
        yield command(*words, "--sweep")
    elif report.best is not None:  # the point that failed was asked for
        yield command(*_without(words, *_POINT))
    elif not report.evaluation.judged:
        yield command(*words, "--qrels", "FILE")
    else:
        wider = command(*_without(words, *_POINT, "--tolerance"), "--tolerance", f"{2 * report.tolerance:g}")
        yield f"{wider}  (twice as much may be lost)"


def after_export(out: Path, again: Sequence[str], *, passed: bool) -> Iterator[str]:
    """Publish a graph, alone or with the model in whose folder it is; or encode with the model itself."""
    if not passed:
        yield command("encode", *again[:1], "TEXTS.jsonl", "--to", "parquet", *again[1:])
        return
    yield f"record: {out / EXPORT_RECORD}"
    made = any((out.parent / name).is_file() for name in (RECORD, THRESHOLD_RECORD, TRAINING_RECORD))
    yield _publish(out.parent if made else out)


def _publish(folder: Path, *options: str) -> str:
    return command("publish", folder, f"YOUR_NAME/{folder.resolve().name}", "--dry-run", *options)


_POINT = ("--threshold", "--query-threshold", "--document-threshold", "--query-top-k", "--document-top-k")


def _without(words: Sequence[str], *options: str) -> list[str]:
    """The words of a command without these options and their values."""
    kept, rest = [], iter(words)
    for word in rest:
        if word in options:
            next(rest, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


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
    """An address on the Hub: `what` is "tree", "blob/PATH" or "discussions/NUMBER", or "" for the model itself."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    kind, _, path = what.partition("/")
    return "/".join(filter(None, (endpoint, repo_id, kind, revision, path)))
