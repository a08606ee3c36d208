"""What to do after a failed threshold check: by how much it failed, on which texts, and which options there are."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from patcher.documents.checks import threshold_check
from patcher.documents.formatting import number, percent
from patcher.source.snapshot import Source
from patcher.verify.report import Report

_SHOWN = 3  # texts
_LONGEST = 60  # characters of a text


@dataclass(frozen=True)
class Choice:
    """One option: what it does, and its command."""

    what: str
    command: str


@dataclass(frozen=True)
class Advice:
    """What is known, and what can be done, after `relu_sparsity` failed.

    `where` compares lengths of texts, `densest` names the least sparse texts. `shift` is the smallest constant of the
    measured curve that reaches the limit, None where there is no curve or none of its constants does.
    """

    verdict: str
    where: tuple[str, ...]
    densest: tuple[str, ...]
    choices: tuple[Choice, ...]
    shift: float | None = None


def advise(report: Report, folder: str = "FOLDER") -> Advice | None:
    """The advice for a report on `folder`; None where the threshold check passed or was not measured.

    Also None where another check failed: then the model is not the base without its cap, which no limit or constant
    fixes.
    """
    check = threshold_check(report)
    if check is None or check.passed or check.value is None:
        return None
    # Without negative logits nothing is zero either: that check fails for the same reason.
    if {one.name for one in report.failed} - {check.name, "negative_logits"}:
        return None
    lowered = any(one.name == "cap_lowered_exactly" for one in report.checks)
    curve = report.patched.get("curve") or ()
    reached = next((point for point in curve if point["logit_sparsity"] > check.limit), None)
    return Advice(
        f"Logit sparsity is {number(check.value * 100)} % and has to exceed {number(check.limit * 100)} %; "
        f"it falls short by {(check.limit - check.value) * 100:.2g} percentage points.",
        _lengths(report),
        _texts(report),
        (
            *_train_anyway(check.value, folder),
            _higher_threshold(report) if lowered else _calibrate(report, check.limit, reached, folder),
        ),
        reached["shift"] if reached else None,
    )


def lines(advice: Advice) -> list[str]:
    """The advice for a terminal."""
    densest = ["The least sparse texts:", *(f"- {text}" for text in advice.densest)] if advice.densest else []
    choices = [line for choice in advice.choices for line in (f"- {choice.what}", f"    {choice.command}")]
    return [advice.verdict, *advice.where, *densest, "What can be done:", *choices]


def patch_command(source: Source, *options: str) -> str:
    """The command that patches a source at its revision."""
    revision = ["--revision", source.revision] if source.repo_id and source.revision else []
    return shlex.join(["patcher", "patch", str(source.repo_id or source.folder or source.path), *revision, *options])


def _lengths(report: Report) -> tuple[str, ...]:
    bins = report.patched.get("by_length") or ()
    if len(bins) < 2:
        return ()
    worst = min(bins, key=lambda row: row["mean"])
    best = max(bins, key=lambda row: row["mean"])
    texts = "1 text" if worst["texts"] == 1 else f"{worst['texts']:,} texts"
    return (
        f"Embedding sparsity is lowest for {texts} of {_span(worst)} tokens, {percent(worst['mean'])} on average, "
        f"and highest for those of {_span(best)} tokens, {percent(best['mean'])}.",
    )


def _texts(report: Report) -> tuple[str, ...]:
    densest = sorted(report.probe_texts, key=lambda text: (-text["after"]["active_dims"], text["id"]))[:_SHOWN]
    return tuple(
        f"{text['id']}: {text['tokens']:,} tokens, {text['after']['active_dims']:,} active dims: {_short(text['text'])}"
        for text in densest
    )


def _train_anyway(value: float, folder: str) -> tuple[Choice, ...]:
    lower = (math.ceil(value * 100) - 1) / 100
    if lower < 0:
        return ()
    what = (
        "Train on it as it is, since SPLADE's regularisation makes a model sparser; the report states the lower limit."
    )
    return (Choice(what, f"patcher verify {shlex.quote(folder)} --min-logit-sparsity {lower:g}"),)


def _calibrate(report: Report, limit: float, reached: Mapping[str, Any] | None, folder: str) -> Choice:
    shift = report.patched.get("shift_to_gate")
    amount = "as small as possible" if shift is None else f"here {shift:g}"
    if reached:
        sparsity = percent(reached["embedding_sparsity"])
        about = f"about {reached['shift']:.3g}" if shift is None else amount
        amount = f"{about}, which makes embedding sparsity {'about ' if shift is not None else ''}{sparsity}"
    return Choice(
        f"Calibrate: subtract one constant from every logit, {amount}. The ranking of tokens stays the same; the card "
        "and the report say that the logits are shifted.",
        patch_command(report.source, "--out", folder, "--calibrate", f"{limit:g}"),
    )


def _higher_threshold(report: Report) -> Choice:
    source = shlex.quote(str(report.source))
    return Choice("Choose a higher threshold; a sweep shows what each costs.", f"patcher threshold {source} --sweep")


def _span(row: Mapping[str, Any]) -> str:
    return f"{row['tokens'][0]:,} to {row['tokens'][1]:,}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip(' .,')}…"
