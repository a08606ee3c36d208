"""Checks a published model against its own record: source, code, weights, files and report. Runs no model code."""

from __future__ import annotations

from dataclasses import dataclass

from patcher.codec import Unreadable
from patcher.constants import CARD, CONFIG, DRAWN, RECORD, REPORT
from patcher.errors import PatcherError, SourceError
from patcher.patching.record import PatchedModel, read_record
from patcher.planning.files import join
from patcher.planning.plan import make_plan, rewrite_folders
from patcher.publish.hub import RetryPolicy, time_limit
from patcher.publish.operations import not_verified, recorded_files
from patcher.publish.readback import Finding, finding
from patcher.publish.target import NOT_PUBLISHED
from patcher.source.snapshot import Snapshot, fetch, resolve, sha256_of
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


def check(repo_id: str, revision: str | None = None, *, retry: RetryPolicy = RetryPolicy()) -> Checked:
    """Check a published model against its record and its source. Runs no model code and downloads no weights.

    Raises SourceError where there is no record that can be read, AccessDenied or HubUnreachable where the Hub refuses
    or does not answer.
    """
    with time_limit(retry.timeout):
        return _check(repo_id, revision)


def _check(repo_id: str, revision: str | None) -> Checked:
    published = resolve(repo_id if "://" in repo_id else f"hf://{repo_id}", revision)
    if RECORD not in published.paths:
        raise SourceError(
            f"{published.source} has no {RECORD}, so it was not published with this tool.",
            "Check the name and revision.",
        )
    read = (file.path for file in published.files if file.sha256 is None or file.path.endswith(".py"))
    small = [path for path in read if path not in NOT_PUBLISHED]
    published = fetch(published, small)
    model = _model(published)
    source, there = _source(model)
    findings = (
        there,
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


def _source(model: PatchedModel) -> tuple[Snapshot | None, Finding]:
    """The source, and whether it is still there; a folder on somebody's machine can't be checked."""
    name = "source_there"
    if model.source.repo_id is None:
        return None, Finding(name, passed=None, detail=f"the source was a folder, {model.source.path}")
    try:
        source = resolve(f"hf://{model.source.repo_id}", model.source.revision)
    except PatcherError as error:
        return None, Finding(name, passed=False, detail=error.message)
    return source, Finding(name, passed=True, detail=str(source.source))


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
    weights = (file for file in published.files if file.path.endswith(".safetensors"))
    here = {file.path: file.sha256 or "not a large file" for file in weights}
    recorded = {file.path: file.after for file in model.weights}
    wrong = {path for path in {*here, *recorded} if here.get(path) != recorded.get(path)}
    if source is not None:
        there = {file.path: file.sha256 for file in source.files}
        for file in model.weights:
            # Converted weights have a hash of their own; the source has to have the pickle that they were made from.
            pickled = file.action == "converted" and file.path not in there
            if (there.get(file.source_path) != file.before) if pickled else (there.get(file.path) != file.after):
                wrong.add(file.path)
    against = "the record" if source is None else "the record and the source"
    how = "; converted from pickles, whose hashes were compared" if model.converted else ""
    return finding("weights_equal", sorted(wrong), f"{len(here)} files, by SHA-256, against {against}{how}")


def _files(model: PatchedModel, published: Snapshot, small: list[str]) -> Finding:
    """Compare every other file with the hash in the record. The card may be edited by anyone."""
    listed = {file.path: file.sha256 for file in published.files}
    others = (one for one in recorded_files(model).values() if not one.path.endswith((".safetensors", ".py")))
    expected = {file.path: file.after for file in others}
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
    other = not_verified(model, report, published.local(RECORD))
    return finding(name, other, f"{len(report.checks)} checks, about exactly these bytes")
