"""Checks a published model from its own record: the source, the code and the weights. Runs nothing of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.constants import CARD, CONFIG, DRAWN, RECORD, REPORT, SCHEMA_VERSION
from patcher.errors import PatcherError, SourceError
from patcher.patching.record import FileRecord, PatchedModel, from_record
from patcher.planning.files import join
from patcher.planning.plan import make_plan, rewrite_folders
from patcher.publish.operations import NOT_PUBLISHED
from patcher.publish.readback import Finding, finding
from patcher.source.snapshot import File, Snapshot, fetch, resolve
from patcher.verify.report import load_report


@dataclass(frozen=True)
class Checked:
    """A published model at one commit, and what was found there."""

    repo_id: str
    commit: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed; what could not be looked at does not count."""
        return all(one.passed is not False for one in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "repo_id": self.repo_id,
            "commit": self.commit,
            "passed": self.passed,
            "findings": [one.as_json() for one in self.findings],
        }


def check_model(repo_id: str, revision: str | None) -> Checked:
    """Look at source, code, weights, files and report of a published model.

    Raises SourceError where there is no record, AccessDenied and HubUnreachable for what the Hub says.
    """
    published = resolve(repo_id if "://" in repo_id else f"hf://{repo_id}", revision)
    if RECORD not in published.paths:
        raise SourceError(
            f"{published.source} has no {RECORD}, so it was not published with this tool.",
            "Check the name and revision.",
        )
    small = [
        file.path
        for file in published.files
        if (file.sha256 is None or file.path.endswith(".py")) and file.path not in NOT_PUBLISHED
    ]
    published = fetch(published, small)
    model = _model(published)
    source, absent = _source(model)
    findings = (
        _source_there(model, source, absent),
        _code(model, published, source),
        _weights(model, published, source),
        _files(model, published, small),
        _report(model, published),
    )
    return Checked(str(published.source.repo_id), str(published.source.revision), findings)


def _model(published: Snapshot) -> PatchedModel:
    assert published.root is not None
    try:
        return from_record(published.root, json.loads(published.read(RECORD)))
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{RECORD} of {published.source} is not a record that this version understands.",
            "Use the version of splade-patcher that published it.",
        ) from error


def _source(model: PatchedModel) -> tuple[Snapshot | None, str]:
    if model.source.repo_id is None:
        return None, f"the source was a folder, {model.source.path}"
    try:
        return resolve(f"hf://{model.source.repo_id}", model.source.revision), ""
    except PatcherError as error:
        return None, error.message


def _source_there(model: PatchedModel, source: Snapshot | None, absent: str) -> Finding:
    if source is not None:
        return Finding("source_there", True, str(source.source))
    return Finding("source_there", None if model.source.repo_id is None else False, absent)


def _code(model: PatchedModel, published: Snapshot, source: Snapshot | None) -> Finding:
    """The published Python files against what the codemods make, now, of the code of the source.

    Where the source can't be had, its code as the record holds it takes its place.
    """
    name = "code_equal"
    meant = {path for path in published.paths if path.endswith(".py")} | set(model.originals)
    here = {path: published.read(path) for path in sorted(meant & set(published.paths))}
    try:
        if source is not None:
            source = fetch(source, [path for path in source.paths if path.endswith(".py")])
            plan = make_plan(source, model.options)
            before = {path: source.read(path) for path in source.paths if path.endswith(".py")}
            made, whence = {**before, **plan.contents}, f"made again from {source.source}"
        else:
            before = {**here, **model.originals}
            places = {folder: join(folder, CONFIG) for folder in model.encoders or ("",)}
            configs = {folder: model.originals.get(path) or published.read(path) for folder, path in places.items()}
            made = {**before, **rewrite_folders(before, configs, model.options).contents}
            whence = f"made again from the originals in {RECORD}, which nobody vouches for"
    except PatcherError as error:
        return Finding(name, False, error.message)
    wrong = sorted(path for path in {*here, *made} if here.get(path) != made.get(path))
    return finding(name, wrong, f"{len(here)} files, {whence}")


def _weights(model: PatchedModel, published: Snapshot, source: Snapshot | None) -> Finding:
    """The weights by the hashes that the Hub lists, here and at the source."""
    here = {file.path: file.sha256 or "not a large file" for file in published.files if _is_weights(file)}
    recorded = {file.path: file.after for file in model.weights}
    wrong = {path for path in {*here, *recorded} if here.get(path) != recorded.get(path)}
    if source is not None:
        there = {file.path: file.sha256 for file in source.files}
        made = {file.path: file for file in model.weights}
        # Converted weights have a hash of their own; the source has to hold the pickle that they were made of.
        wrong |= {path for path in here if not _carried(made.get(path), here[path], there)}
    against = "the record" if source is None else "the record and the source"
    how = "; converted from pickles, whose hashes were compared" if model.converted else ""
    return finding("weights_equal", sorted(wrong), f"{len(here)} files, by SHA-256, against {against}{how}")


def _carried(record: FileRecord | None, sha256: str, there: Mapping[str, str | None]) -> bool:
    """Whether a file of weights is one of the source, or was made of a pickle that the source holds instead of it."""
    if record is not None and record.action == "converted" and record.path not in there:
        return there.get(record.source_path) == record.before
    return record is not None and there.get(record.path) == sha256


def _is_weights(file: File) -> bool:
    return file.path.endswith(".safetensors")


def _files(model: PatchedModel, published: Snapshot, small: list[str]) -> Finding:
    """Every other file against the hash in the record. The card is anybody's to edit."""
    listed = {file.path: file.sha256 for file in published.files}
    expected = {
        file.path: file.after
        for file in model.files
        if file.path not in NOT_PUBLISHED and not file.path.endswith((".safetensors", ".py"))
    }
    found = {path: _sha256(published.local(path)) if path in small else listed.get(path) for path in expected}
    wrong = [path for path in expected if found[path] != expected[path]]
    more = sorted(set(listed) - {file.path for file in model.files} - {CARD, RECORD, REPORT} - DRAWN - NOT_PUBLISHED)
    detail = f"{len(expected)} files, by SHA-256" + (f"; not in the record: {', '.join(more)}" if more else "")
    return finding("files_equal", wrong, detail)


def _report(model: PatchedModel, published: Snapshot) -> Finding:
    name = "report_passed"
    assert published.root is not None
    try:
        report = load_report(published.root)
    except PatcherError as error:
        return Finding(name, False, error.message)
    if report is None or REPORT not in published.paths:
        return Finding(name, False, "the model was published without a verification")
    if not report.passed:
        return Finding(name, False, f"failed: {', '.join(one.name for one in report.checks if not one.passed)}")
    expected = {file.path: file.after for file in model.files if file.path not in NOT_PUBLISHED}
    expected[RECORD] = _sha256(published.local(RECORD))
    other = [path for path, digest in expected.items() if report.files.get(path) != digest]
    return finding(name, other, f"{len(report.checks)} checks, about exactly these bytes")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
