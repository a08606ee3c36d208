"""Checks what is on the Hub: a publication against its plan, a published model against its record and its source.

Runs no model code and does not trust the answer to a commit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from huggingface_hub import ModelCardData

from patcher.codec import Unreadable
from patcher.constants import CARD, CONFIG, DRAWN, RECORD, REPORT
from patcher.errors import HubUnreachable, PatcherError, SourceError
from patcher.hashing import sha256_of
from patcher.patching.record import PatchedModel, read_record
from patcher.planning.files import join
from patcher.planning.plan import make_plan, rewrite_folders
from patcher.publish.hub import Hub, RetryPolicy
from patcher.publish.operations import not_verified, recorded_files
from patcher.publish.plan import PublishPlan
from patcher.publish.target import NOT_PUBLISHED
from patcher.source.metadata import read_metadata
from patcher.source.request_limit import time_limit
from patcher.source.snapshot import AlteredFile, Snapshot, fetch, resolve
from patcher.verify.report import load_report

_KEYS = ("license", "license_name", "license_link", "language", "base_model", "library_name", "pipeline_tag", "tags")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. `passed` is None where it could not be checked; `detail` says what was found."""

    name: str
    passed: bool | None
    detail: str


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
            _unchanged(model, published, source),
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
        return None, Finding(name, passed=None, detail=error.message)
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
    except (AlteredFile, HubUnreachable) as error:
        return Finding(name, passed=None, detail=f"{error.message} {error.hint}")
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


def _unchanged(model: PatchedModel, published: Snapshot, source: Snapshot | None) -> Finding:
    """Compare each file that both have with what the Hub lists for the source: the record is the publisher's own word.

    The code and what else the codemods change are compared by `code_equal`, the weights by `weights_equal`.
    """
    name = "source_files_equal"
    if source is None:
        return Finding(name, passed=None, detail="the source could not be read")
    generated = {CARD, RECORD, REPORT, *DRAWN, *NOT_PUBLISHED, *model.originals}
    here, there = ({file.path: file for file in snapshot.files} for snapshot in (published, source))
    both = [path for path in here if path in there and path not in generated]
    unchanged = [path for path in both if not path.endswith((".safetensors", ".py"))]
    wrong = []
    for path in unchanged:
        if here[path].sha256 and there[path].sha256:
            same = here[path].sha256 == there[path].sha256
        else:
            same = there[path].matches(fetch(published, [path]).local(path))
        wrong += [] if same else [path]
    return finding(name, wrong, f"{len(unchanged)} files, by what the Hub lists for {source.source}")


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


def read_back(plan: PublishPlan, commit: str, revision: str, hub: Hub) -> tuple[Finding, ...]:
    """Check that `revision` of the target has the commit; check its files, hashes and the card as the Hub parsed it."""
    history = hub.call_with_retry(lambda: hub.api.list_repo_commits(plan.repo_id, revision=revision))
    elsewhere = [] if commit in {one.commit_id for one in history} else [f"{revision} does not have it"]
    listed = hub.files(plan.repo_id, commit)
    there = [file for file in plan.wanted if file.path in listed]
    missing = [file.path for file in plan.wanted if file.path not in listed]
    sizes = [file.path for file in there if listed[file.path].size != file.size]
    large = [file for file in there if listed[file.path].sha256 is not None]
    small = [file for file in there if listed[file.path].sha256 is None]
    other = [file.path for file in large if listed[file.path].sha256 != file.sha256]
    content = hub.read(plan.repo_id, commit, [file.path for file in small])
    damaged = [file.path for file in small if hashlib.sha256(content[file.path]).hexdigest() != file.sha256]
    kept = [path for path in plan.kept if path in plan.target.files and listed.get(path) != plan.target.files[path]]
    return (
        finding("commit_there", elsewhere, f"{commit[:7]} in {revision}"),
        finding("files_there", [*missing, *sizes], f"{len(plan.wanted)} files with their sizes"),
        finding("large_files_equal", other, f"{len(large)} by the SHA-256 that the Hub lists"),
        finding("small_files_equal", damaged, f"{len(small)} downloaded again and hashed"),
        *([finding("kept_files_untouched", kept, f"{len(plan.kept)} files")] if plan.kept else []),
        *(() if plan.options.repairs_only else (_card(plan, commit, hub),)),
    )


def finding(name: str, wrong: list[str], fine: str) -> Finding:
    """Passed where `wrong` is empty; otherwise the detail names what is in it."""
    return Finding(name, not wrong, f"mismatch: {', '.join(wrong)}" if wrong else fine)


def _card(plan: PublishPlan, commit: str, hub: Hub) -> Finding:
    """Whether the Hub parsed the metadata of the card as written."""
    info = hub.call_with_retry(lambda: hub.api.model_info(plan.repo_id, revision=commit))
    parsed = info.card_data.to_dict() if info.card_data is not None else {}  # type: ignore[no-untyped-call]
    text = plan.target.texts.get(CARD, b"").decode("utf-8", "replace") if CARD in plan.kept else plan.card
    written = {key: value for key, value in read_metadata(text).items() if key in _KEYS}
    expected = ModelCardData(**written).to_dict()  # type: ignore[no-untyped-call]  # as the client normalizes it
    wrong = [key for key in _KEYS if parsed.get(key) != expected.get(key)]
    fine = ", ".join(f"{key} {expected[key]}" for key in ("license", "base_model") if key in expected)
    return finding("card_understood", wrong, fine)
