"""Patches a list of repositories, each by itself: a failure stops no other, and finished ones stay finished."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Thread

from patcher.codec import json_field
from patcher.constants import RECORD
from patcher.documents.templating import templates
from patcher.errors import PatcherError, UsageError, from_os
from patcher.hashing import sha256_of
from patcher.patching.record import PatchedModel, load
from patcher.patching.sharing import AUTO
from patcher.pipeline.api import check_out, patch_model
from patcher.pipeline.disk import Need, check_room, need_of
from patcher.pipeline.jobs import Stop, Task, run_all
from patcher.pipeline.memory import available_memory, memory_of
from patcher.planning.options import Options
from patcher.planning.plan import Plan, make_plan
from patcher.sandbox.process import Interrupted, was_interrupted
from patcher.source.snapshot import Snapshot, fetch, resolve
from patcher.verify.report import Report, document_of, load_report
from patcher.verify.requests import is_encoder
from patcher.verify.settings import Progress, Verification
from patcher.verify.verification import hash_folder

logger = logging.getLogger(__name__)

OURS = "family"  # names the list that comes with the package
PATCHED, SKIPPED, NOTHING, FAILED, NOT_DONE = "patched", "skipped", "nothing to do", "failed", "not done"


@dataclass(frozen=True)
class Entry:
    """One line of the list: what to patch, and the folder to write.

    Once it was inspected, it has a snapshot and a plan, or the error that stopped it.
    """

    spec: str
    out: Path
    snapshot: Snapshot | None = None
    plan: Plan | None = None
    error: PatcherError | None = None

    @property
    def runs(self) -> bool:
        """Whether there is anything to patch, and therefore code that a verification would run."""
        return self.plan is not None and not self.plan.nothing_to_do


@dataclass(frozen=True)
class Outcome:
    """How one entry ended: `status` is one of the words above, `seconds` include the verification.

    `need` are the bytes that were downloaded and written for it.
    """

    json_properties = ("logit_sparsity", "checks", "need.downloaded", "need.written")

    entry: Entry = json_field(key="folder", write=lambda entry: str(entry.out))
    source: str = json_field()
    status: str = json_field()
    seconds: float = json_field(write=lambda seconds: round(seconds, 2))
    reason: str = ""
    hint: str = ""
    report: Report | None = json_field(default=None, write=document_of)
    need: Need = json_field(omit=True, default=Need())

    @property
    def logit_sparsity(self) -> float | None:
        """Share of ReLU(logits) that is zero in the patched model, or None if it was not measured."""
        value = self.report.patched.get("logit_sparsity") if self.report else None
        return value if isinstance(value, float) else None

    @property
    def checks(self) -> str:
        """How many checks passed, of how many."""
        if self.report is None:
            return ""
        checks = self.report.all_checks
        return f"{sum(check.passed for check in checks)}/{len(checks)}"


@dataclass(frozen=True)
class Outcomes:
    """How a list ended, in its order."""

    json_properties = ("passed",)

    all: tuple[Outcome, ...] = json_field(key="results")

    @property
    def passed(self) -> bool:
        """Whether every entry was done and none failed."""
        return not {outcome.status for outcome in self.all} & {FAILED, NOT_DONE}


def read_list(path: Path, out: Path) -> tuple[Entry, ...]:
    """The entries of a list; `family` names the one that comes with the package.

    A line holds a source and, after it, the name of a folder below `out` (`<name>-splade` where it is missing); `#`
    begins a comment, and quotes hold spaces. Raises UsageError with the number of the first wrong line.
    """
    if str(path) == OURS and not path.exists():
        path = templates() / "family.txt"
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        why = f"The list {path} can't be read: {reason}."
        raise UsageError(why, "Pass a text file with one model per line.") from error
    entries: list[Entry] = []
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError(f"Line {number} of {path} can't be read: {error}.", "Close the quotes.") from error
        if not words:
            continue
        name = words[1] if len(words) > 1 else f"{_name(words[0])}-splade"
        if len(words) > 2 or PurePosixPath(name).name != name or "\\" in name or name in {"..", "."}:
            why = f"Line {number} of {path} is not a source, optionally with a folder name: {line.strip()}"
            raise UsageError(why, "Write one model per line, then, if you like, a name without slashes.")
        if any(entry.out.name == name for entry in entries):
            why = f"Line {number} of {path} would write {name} a second time."
            raise UsageError(why, "Write another name after the source.")
        entries.append(Entry(words[0], out / name))
    if not entries:
        raise UsageError(f"The list {path} names no model.", "Write one Hub id or folder per line.")
    return tuple(entries)


def inspect_entries(entries: Sequence[Entry], options: Options) -> tuple[Entry, ...]:
    """Resolve and plan every entry, without running or writing anything; an error is kept with its entry."""
    inspected = []
    for number, entry in enumerate(entries, 1):
        logger.info("[%d/%d] Inspecting %s ...", number, len(entries), entry.spec)
        try:
            snapshot = resolve(entry.spec)
            check_out(entry.out, snapshot)
            inspected.append(replace(entry, snapshot=snapshot, plan=make_plan(snapshot, options)))
        except Exception as error:
            inspected.append(replace(entry, error=_as_patcher_error(error, entry.out)))
    return tuple(inspected)


def patch_all(
    entries: Sequence[Entry],
    verification: Verification | None,
    storage: str = AUTO,
    *,
    discard_weights: bool = False,
    jobs: int = 1,
) -> Outcomes:
    """Patch each inspected entry, and verify it where `verification` says how. Executes the models' code then.

    A folder that already is a complete result of the same source, options and limits is left unchanged. The weights of
    the next model are downloaded meanwhile, unless those of each are discarded at its end. At most `jobs` models are
    patched at once, each verified in a process of its own on the CPU, and never more than fit into memory together.
    Raises OutputError before anything is done where the disk has not enough room.
    """
    job = _Job(verification, storage, time.time() if discard_weights else None)
    needs = {entry.out: _need(entry, storage) for entry in entries if entry.runs}
    if new := [need for out, need in needs.items() if not (out / RECORD).exists()]:
        words = check_room(new, entries[0].out.parent, at_once=jobs if discard_weights else None)
        logger.info("This list needs %s.", words)

    def patch(number: int, stop: Stop) -> Outcome:
        entry, started_at = entries[number], time.monotonic()
        if not discard_weights:
            Thread(target=_fetch_ahead, args=entries[number + 1 : number + 2], daemon=True).start()
        outcome = _patch(entry, job, f"[{number + 1}/{len(entries)}]", stop.check)
        need = Need() if outcome.status == SKIPPED else needs.get(entry.out, Need())
        if jobs > 1:  # the lines of several models are mixed
            logger.info("[%d/%d] %s: %s", number + 1, len(entries), entry.out, outcome.status)
        return replace(outcome, seconds=time.monotonic() - started_at, need=need)

    tasks = [
        Task(partial(patch, number), _memory(entry, verification), _repository(entry))
        for number, entry in enumerate(entries)
    ]
    return Outcomes(run_all(tasks, jobs, available_memory() if jobs > 1 else 0))


def _repository(entry: Entry) -> str | None:
    return entry.snapshot.source.repo_id if entry.snapshot is not None else None


def _memory(entry: Entry, verification: Verification | None) -> int:
    if verification is None or not entry.runs:
        return 0
    assert entry.plan is not None and entry.snapshot is not None
    return memory_of(entry.plan, entry.snapshot)


@dataclass(frozen=True)
class _Job:
    """What is done with every entry: how it is verified and stored, and the time after which weights are discarded."""

    verification: Verification | None
    storage: str
    discard_since: float | None


def _need(entry: Entry, storage: str) -> Need:
    assert entry.plan is not None and entry.snapshot is not None
    return need_of(entry.plan, entry.snapshot, entry.out, storage)


def _fetch_ahead(entry: Entry | None = None) -> None:
    """Download what an entry needs; what goes wrong shows when it is its turn."""
    if entry is not None and entry.plan is not None and entry.snapshot is not None and entry.runs:
        with contextlib.suppress(Exception):
            fetch(entry.snapshot, [*entry.plan.files.copied, *entry.plan.files.converted.values()])


def _patch(entry: Entry, job: _Job, number: str, progress: Progress) -> Outcome:
    plan, snapshot = entry.plan, entry.snapshot
    if plan is None or snapshot is None:
        assert entry.error is not None
        return Outcome(entry, entry.spec, NOT_DONE, 0, entry.error.message, entry.error.hint)
    source = str(plan.source)
    if plan.nothing_to_do:
        return Outcome(entry, source, NOTHING, 0, plan.nothing_to_do)
    try:
        if done := _done(entry.out, plan, snapshot, job):
            logger.info("%s %s is complete already.", number, entry.out)
            return Outcome(entry, source, SKIPPED, 0, "complete already", report=None if done is True else done)
        logger.info("%s Patching %s into %s ...", number, source, entry.out)
        patched = patch_model(
            plan,
            snapshot,
            entry.out,
            job.verification,
            storage=job.storage,
            discard_since=job.discard_since,
            progress=progress,
        )
        report = patched.report
    except Exception as error:
        known = _as_patcher_error(error, entry.out)
        return Outcome(entry, source, NOT_DONE, 0, known.message, known.hint)
    if report is not None and not report.passed:
        failed = ", ".join(check.name for check in report.failed)
        return Outcome(entry, source, FAILED, 0, f"did not pass {failed}", f"See {entry.out / 'report.json'}.", report)
    return Outcome(entry, source, PATCHED, 0, "" if report else "not verified", report=report)


def _done(out: Path, plan: Plan, snapshot: Snapshot, job: _Job) -> Report | bool:
    """The report of a folder that holds everything this run would make, True if none is needed, else False.

    Every file is hashed, also of a source that is a folder: it has no revision that would show a change. Weights that
    this run would discard may be missing.
    """
    verification = job.verification
    try:
        model, report = load(out), load_report(out)
    except PatcherError:
        return False
    same = model.source == plan.source and model.options == plan.options and model.diff == plan.diff
    if not same or not _current(model, snapshot):
        return False
    files = hash_folder(out)
    if job.discard_since is not None and model.source.repo_id is not None:
        files |= {file.path: file.after for file in model.weights if file.path not in files}
    if any(files.get(file.path) != file.after for file in model.files):
        return False
    if verification is not None and not is_encoder(model):
        verification = replace(verification, sparse_encoder=False)
    if report is not None and report.files == files and (verification is None or verification.covers(report)):
        return report
    return verification is None


def _current(model: PatchedModel, snapshot: Snapshot) -> bool:
    """Whether the source still is what the folder was made from. A commit can't change, a folder can."""
    if snapshot.source.folder is None:
        return True
    pairs = [(Path(snapshot.source.folder, file.source_path), file.before) for file in model.files]
    return all(path.is_file() and sha256_of(path) == before for path, before in pairs)


def _as_patcher_error(error: Exception, out: Path) -> PatcherError:
    """Any error as a PatcherError; logs the traceback if it was asked for. Raises Interrupted where that led to it."""
    if was_interrupted(error):
        raise Interrupted from error
    if os.environ.get("HF_DEBUG"):
        logger.warning("%s", "".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, PatcherError):
        return error
    if isinstance(error, OSError):
        return from_os(error, str(out))
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return PatcherError(f"Unexpected error: {what}.", "Please report it with the traceback that HF_DEBUG=1 prints.")


def _name(spec: str) -> str:
    """The last part of a source without its revision."""
    if Path(spec).is_dir():
        return Path(spec).resolve().name
    return spec.rstrip("/").rpartition("/")[2].partition("@")[0]
