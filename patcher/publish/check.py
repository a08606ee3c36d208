"""Checks a published model against its own record: source, code, weights, files and report. Runs no model code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from patcher.codec import Unreadable
from patcher.constants import CARD, CONFIG, DRAWN, RECORD, REPORT
from patcher.errors import PatcherError, SourceError
from patcher.patching.record import FileRecord, PatchedModel, read_record
from patcher.planning.files import join
from patcher.planning.plan import make_plan, rewrite_folders
from patcher.publish.operations import NOT_PUBLISHED
from patcher.publish.readback import Finding, finding
from patcher.source.snapshot import File, Snapshot, fetch, resolve, sha256_of
from patcher.verify.report import load_report


@dataclass(frozen=True)
class Checked:
    """A published model at one commit, and the findings about it."""

    repo_id: str
    commit: str
    findings: tuple[Finding, ...]

    json_properties = ("passed",)

    @property
    def passed(self) -> bool:
        """Whether no finding failed; what could not be checked does not count."""
        return all(one.passed is not False for one in self.findings)


def check_model(repo_id: str, revision: str | None) -> Checked:
    """Check source, code, weights, files and report of a published model.

    Raises SourceError where there is no record that can be read, AccessDenied or HubUnreachable where the Hub refuses
    or does not answer.
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
        return read_record(published.root, published.read(RECORD))
    except Unreadable as error:
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
        return Finding("source_there", passed=True, detail=str(source.source))
    return Finding("source_there", passed=None if model.source.repo_id is None else False, detail=absent)


def _code(model: PatchedModel, published: Snapshot, source: Snapshot | None) -> Finding:
    """Compare the published Python files with what the codemods now make of the source's code.

    Where the source is not available, the originals in the record stand in for it.
    """
    name = "code_equal"
    expected = {path for path in published.paths if path.endswith(".py")} | set(model.originals)
    here = {path: published.read(path) for path in sorted(expected & set(published.paths))}
    try:
        if source is not None:
            source = fetch(source, [path for path in source.paths if path.endswith(".py")])
            plan = make_plan(source, model.options)
            before = {path: source.read(path) for path in source.paths if path.endswith(".py")}
            made, origin = {**before, **plan.contents}, f"regenerated from {source.source}"
        else:
            before = {**here, **model.originals}
            paths = {folder: join(folder, CONFIG) for folder in model.encoders or ("",)}
            configs = {folder: model.originals.get(path) or published.read(path) for folder, path in paths.items()}
            made = {**before, **rewrite_folders(before, configs, model.options).contents}
            origin = f"regenerated from the originals in {RECORD}, which the source does not confirm"
    except PatcherError as error:
        return Finding(name, passed=False, detail=error.message)
    wrong = sorted(path for path in {*here, *made} if here.get(path) != made.get(path))
    return finding(name, wrong, f"{len(here)} files, {origin}")


def _weights(model: PatchedModel, published: Snapshot, source: Snapshot | None) -> Finding:
    """Compare the weights by the hashes that the Hub lists for the publication and for the source."""
    here = {file.path: file.sha256 or "not a large file" for file in published.files if _is_weights(file)}
    recorded = {file.path: file.after for file in model.weights}
    wrong = {path for path in {*here, *recorded} if here.get(path) != recorded.get(path)}
    if source is not None:
        there = {file.path: file.sha256 for file in source.files}
        made = {file.path: file for file in model.weights}
        # Converted weights have a hash of their own; the source has to have the pickle that they were made from.
        wrong |= {path for path in here if not _carried(made.get(path), here[path], there)}
    against = "the record" if source is None else "the record and the source"
    how = "; converted from pickles, whose hashes were compared" if model.converted else ""
    return finding("weights_equal", sorted(wrong), f"{len(here)} files, by SHA-256, against {against}{how}")


def _carried(record: FileRecord | None, sha256: str, there: Mapping[str, str | None]) -> bool:
    """Whether a weight file is the source's own, or was made from a pickle that the source has instead of it."""
    if record is not None and record.action == "converted" and record.path not in there:
        return there.get(record.source_path) == record.before
    return record is not None and there.get(record.path) == sha256


def _is_weights(file: File) -> bool:
    return file.path.endswith(".safetensors")


def _files(model: PatchedModel, published: Snapshot, small: list[str]) -> Finding:
    """Compare every other file with the hash in the record. The card may be edited by anyone."""
    listed = {file.path: file.sha256 for file in published.files}
    expected = {
        file.path: file.after
        for file in model.files
        if file.path not in NOT_PUBLISHED and not file.path.endswith((".safetensors", ".py"))
    }
    found = {path: sha256_of(published.local(path)) if path in small else listed.get(path) for path in expected}
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
        return Finding(name, passed=False, detail=error.message)
    if report is None or REPORT not in published.paths:
        return Finding(name, passed=False, detail="the model was published without a verification")
    if not report.passed:
        return Finding(name, passed=False, detail=f"failed: {', '.join(one.name for one in report.failed)}")
    expected = {file.path: file.after for file in model.files if file.path not in NOT_PUBLISHED}
    expected[RECORD] = sha256_of(published.local(RECORD))
    other = [path for path, digest in expected.items() if report.files.get(path) != digest]
    return finding(name, other, f"{len(report.checks)} checks, about exactly these bytes")
