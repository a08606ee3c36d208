"""Checks a published model against its record and its source, by what the Hub lists. Runs no model code.

What the Hub does not let us see is never held against the model: such a finding is open.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from patcher import __version__
from patcher.codec import Unreadable
from patcher.constants import CARD, CONFIG, DRAWN, EXPORT_RECORD, RECORD, REPORT, TOKENIZER
from patcher.errors import AccessDenied, HubUnreachable, PatcherError, SourceError
from patcher.hashing import git_blob_id, sha256_of
from patcher.patching.record import FileRecord, PatchedModel
from patcher.planning.files import dropped_because, is_loaded, join, read_by_plans
from patcher.planning.layout import MODULES, ROUTERS, loaded_folders
from patcher.publish.code import same_meaning
from patcher.publish.findings import Checked, Finding, counted, finding
from patcher.publish.hub import Hub
from patcher.publish.operations import not_verified
from patcher.publish.publishable import GRAPHS, KINDS, LARGE, Publishable, find_record, read
from patcher.publish.target import NOT_PUBLISHED
from patcher.source.request_limit import install_if_asked, time_limit
from patcher.source.retry import RetryPolicy
from patcher.source.snapshot import File, Snapshot, parse_hub_id
from patcher.verify.report import load_report

if TYPE_CHECKING:
    from patcher.planning.plan import Plan

_NO_SOURCE = "the source could not be read"


@dataclass(frozen=True)
class Published:
    """A published model and its source, each as the Hub lists it; `source` is None where it could not be read."""

    hub: Hub
    item: Publishable
    snapshot: Snapshot
    source: Snapshot | None

    def read(self, path: str) -> bytes:
        """The content of a published file."""
        self.hub.fetch(self.snapshot, [path])
        return self.snapshot.read(path)

    def local(self, path: str) -> Path:
        """Where a published file is on this machine."""
        self.hub.fetch(self.snapshot, [path])
        return self.snapshot.local(path)

    @cached_property
    def folders(self) -> frozenset[str]:
        """The folders from which the model is loaded."""
        assert self.snapshot.root is not None
        recorded = [file.path for file in self.item.files]
        named = [path for path in recorded if path.rpartition("/")[2] in {*ROUTERS, MODULES}]
        self.hub.fetch(self.snapshot, named if MODULES in recorded else [])
        return loaded_folders(self.snapshot.root, recorded)

    @cached_property
    def plan(self) -> Plan:
        """What this version makes of the source of a patched model, as asked for then. Raises PatcherError."""
        from patcher.planning.plan import make_plan  # with LibCST, which publishing does without

        assert self.item.model is not None and self.source is not None and self.source.root is not None
        # Originals whose hash the source lists need no download. The card tells a plan nothing, nor does a tokenizer
        # that was left unchanged.
        originals, listed = self.item.model.originals, _listed(self.source)
        known = {
            path: content for path, content in originals.items() if path in listed and listed[path].matches(content)
        }
        needless = (CARD, TOKENIZER)
        files = tuple(file for file in self.source.files if file.path in known or not file.path.endswith(needless))
        source = replace(self.source, files=files)
        for path, content in known.items():
            (self.source.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source.root / path).write_bytes(content)
        self.hub.fetch(source, read_by_plans(source.paths))
        return make_plan(source, self.item.model.options)

    def unchanged(self, path: str, origin: str) -> bool:
        """Whether a file is that of the source, by what the Hub lists."""
        here, there = _listed(self.snapshot).get(path), _listed(self.source).get(origin) if self.source else None
        if here is None or there is None:
            return False
        if (here.sha256 is None) != (there.sha256 is None):
            return there.matches(self.local(path))
        return here.sha256 == there.sha256 if here.sha256 else here.blob_id == there.blob_id

    def has(self, file: FileRecord) -> bool:
        """Whether the published file is the recorded one. Downloads it where the Hub lists no hash that tells."""
        here = _listed(self.snapshot).get(file.path)
        if here is None:
            return False
        if here.sha256 is not None:
            return here.sha256 == file.after
        if file.action == "copied" and self.unchanged(file.path, file.source_path):
            return True
        return sha256_of(self.local(file.path)) == file.after


def check(repo_id: str, revision: str | None = None, *, retry: RetryPolicy = RetryPolicy()) -> Checked:
    """Check a published model against its record and its source. Runs no model code and downloads no weights.

    Raises SourceError where there is no record that can be read, AccessDenied or HubUnreachable where the Hub refuses
    or does not answer.
    """
    install_if_asked()
    hub = Hub(retry)
    with time_limit(retry.timeout), tempfile.TemporaryDirectory(prefix="patcher-") as scratch:
        snapshot = hub.snapshot(*parse_hub_id(repo_id, revision), Path(scratch, "published"))
        item = _record(hub, snapshot)
        source, there = _source(hub, item, Path(scratch, "source"))
        published = Published(hub, item, snapshot, source)
        findings = [there]
        if item.model is not None:
            findings.append(_code(item.model, published))
        findings += [
            _weights(published),
            _files(published),
            _unchanged(published),
            _report(item.model, published) if item.model else _verdict(item),
        ]
    return Checked(str(snapshot.source.repo_id), str(snapshot.source.revision), tuple(findings))


def _listed(snapshot: Snapshot) -> Mapping[str, File]:
    return {file.path: file for file in snapshot.files}


def _record(hub: Hub, snapshot: Snapshot) -> Publishable:
    name = find_record(snapshot.paths)
    if name is None:
        raise SourceError(
            f"{snapshot.source} has no {' or '.join(KINDS)}, so it was not published with this tool.",
            "Check the name and revision.",
        )
    possible = {join(folder, EXPORT_RECORD) for folder in GRAPHS if name != EXPORT_RECORD}
    exports = [path for path in snapshot.paths if path in possible]
    hub.fetch(snapshot, [name, *exports])
    assert snapshot.root is not None
    try:
        found = read(snapshot.root, name)
        inside = [(path.rpartition("/")[0], read(snapshot.local(path).parent, EXPORT_RECORD)) for path in exports]
    except Unreadable as error:
        raise SourceError(
            f"{name} of {snapshot.source} is not a record that this version understands.",
            "Use the version of splade-patcher that published it.",
        ) from error
    more = [replace(file, path=join(folder, file.path)) for folder, one in inside for file in one.files]
    return replace(found, files=(*found.files, *more), exports=dict(inside))


def _source(hub: Hub, item: Publishable, folder: Path) -> tuple[Snapshot | None, Finding]:
    """The source, and whether it is still there; a folder on somebody's machine can't be checked."""
    name = "source_there"
    if item.source.repo_id is None:
        detail = f"the source was a folder, {item.source.path}"
        return None, Finding(name, passed=None, detail=detail, checkable=False)
    try:
        source = hub.snapshot(item.source.repo_id, item.source.revision, folder)
    except PatcherError as error:
        return None, Finding(name, passed=None, detail=f"could not be checked: {error.message}")
    return source, Finding(name, passed=True, detail=str(source.source))


def _code(model: PatchedModel, published: Published) -> Finding:
    """Compare the Python files with their recorded hashes, and those with what the codemods make of the source.

    Where the source is not available, the originals in the record stand in for it. Comments do not count, and another
    version of the codemods may write other code: then only that version can tell.
    """
    name = "code_equal"
    paths = [path for path in published.snapshot.paths if path.endswith(".py")]
    recorded = {file.path for file in model.files if file.path.endswith(".py")}
    try:
        made, origin = _regenerated(model, published)
        changed = [path for path in {*paths, *recorded} if not _is_recorded(model, published, path, made)]
        if changed:
            return finding(name, sorted(changed), "")
        differs = [path for path in {*paths, *made} if not _is_blob(published, path, made.get(path))]
        both = {*made}.intersection(paths)
        wrong = [path for path in differs if path not in both or not same_meaning(made[path], published.read(path))]
    except (HubUnreachable, AccessDenied) as error:
        return Finding(name, passed=None, detail=f"could not be checked: {error.message} {error.hint}")
    except PatcherError as error:
        return _by_another(model, name) or Finding(name, passed=False, detail=error.message)
    by = f", written by version {model.tool.version}" if model.tool.version != __version__ else ""
    other = f"; equal but for comments{by}" if differs else ""
    if wrong:
        return _by_another(model, name) or finding(name, sorted(wrong), "")
    return finding(name, [], f"{counted(len(paths))}, {origin}{other}")


def _by_another(model: PatchedModel, name: str) -> Finding | None:
    """The open finding where another version of this tool made the code, which this one can't make again."""
    if model.tool.version == __version__:
        return None
    made = f"as recorded, but made with version {model.tool.version}"
    return Finding(name, None, f"{made}; {__version__} writes different files, so check it with {model.tool.version}")


def _regenerated(model: PatchedModel, published: Published) -> tuple[dict[str, bytes], str]:
    """The Python files that the codemods of this version make, and of what."""
    from patcher.planning.plan import rewrite_folders

    if published.source is not None:
        plan = published.plan
        made = {path: content for path, content in plan.executed.items() if path not in plan.files.dropped}
        origin = f"regenerated from {published.source.source}"
    else:
        here = {path: published.read(path) for path in published.snapshot.paths if path.endswith(".py")}
        before = {**here, **model.originals}
        paths = {folder: join(folder, CONFIG) for folder in model.encoders or ("",)}
        configs = {folder: model.originals.get(path) or published.read(path) for folder, path in paths.items()}
        made = {**before, **rewrite_folders(before, configs, model.options, model.auto_class).contents}
        origin = f"regenerated from the originals in {RECORD}, which the source does not confirm"
    return {path: content for path, content in made.items() if path.endswith(".py")}, origin


def _is_blob(published: Published, path: str, content: bytes | None) -> bool:
    """Whether the Hub lists a content for a path."""
    here = _listed(published.snapshot).get(path)
    if here is None or content is None:
        return here is None and content is None
    return here.matches(content) if here.sha256 else git_blob_id(content) == here.blob_id


def _is_recorded(model: PatchedModel, published: Published, path: str, made: Mapping[str, bytes]) -> bool:
    file = model.file(path)
    if file is None:
        return False
    if path in made and _is_blob(published, path, made[path]) and sha256_of(made[path]) == file.after:
        return True
    return published.has(file)


def _weights(published: Published) -> Finding:
    """Compare the weights by the hashes that the Hub lists for the publication and for the source."""
    item, source = published.item, published.source
    here = {file.path: file for file in published.snapshot.files if file.path.endswith(LARGE)}
    recorded = {file.path: file for file in item.files if file.path.endswith(LARGE)}
    wrong = {path for path in {*here, *recorded} if path not in recorded or not published.has(recorded[path])}
    if source is not None and item.model is not None:
        there = {file.path: file.sha256 for file in source.files}
        for file in item.model.weights:
            # Converted weights have a hash of their own; the source has to have the pickle that they were made from.
            pickled = file.action == "converted" and file.path not in there
            if (there.get(file.source_path) != file.before) if pickled else (there.get(file.path) != file.after):
                wrong.add(file.path)
    against = "the record" if source is None or item.model is None else "the record and the source"
    how = "; converted from pickles, whose hashes were compared" if item.model and item.model.converted else ""
    return finding("weights_equal", sorted(wrong), f"{counted(len(here))}, by SHA-256, against {against}{how}")


def _files(published: Published) -> Finding:
    """Compare every other file with the hash in the record; no other may change what is loaded.

    The card may be edited by anyone.
    """
    name, item = "files_equal", published.item
    elsewhere = (*LARGE, *([".py"] if item.model is not None else []))  # `weights_equal` and `code_equal` compare these
    expected = [file for file in item.files if not file.path.endswith(elsewhere) and file.path not in NOT_PUBLISHED]
    known = {*(file.path for file in item.files), CARD, *KINDS, REPORT, *DRAWN, *NOT_PUBLISHED}
    known |= {join(folder, EXPORT_RECORD) for folder in item.exports}
    more = sorted(path for path in set(published.snapshot.paths) - known if not path.endswith(elsewhere))
    try:
        wrong = [file.path for file in expected if not published.has(file)]
        added = [path for path in more if is_loaded(path, published.folders)]
    except (HubUnreachable, AccessDenied) as error:
        return Finding(name, passed=None, detail=f"could not be checked: {error.message} {error.hint}")
    detail = f"{counted(len(expected))}, by SHA-256" + (f"; not in the record: {', '.join(more)}" if more else "")
    return finding(name, [*wrong, *added], detail)


def _unchanged(published: Published) -> Finding:
    """Compare the files with those that the Hub lists for the source: the record is the publisher's own word.

    It has to list what a plan carries over, and nothing else. The content of the code is compared by `code_equal`, that
    of the weights by `weights_equal`.
    """
    name, item, source = "source_files_equal", published.item, published.source
    if source is None:
        return Finding(name, passed=None, detail=_NO_SOURCE, checkable=item.source.repo_id is not None)
    if item.model is None:  # made from the source, not carried over from it
        return Finding(name, passed=None, detail="the files were made, not carried over", checkable=False)
    try:
        plan = published.plan
        made, left_out = plan.contents, plan.files.dropped
        kept = {path for path in source.paths if dropped_because(path) is None and path not in left_out}
        expected = {*kept, *made, *plan.files.converted} - NOT_PUBLISHED
        recorded = {file.path for file in item.model.files} - NOT_PUBLISHED
        text = {path for path in expected & recorded if not path.endswith((".safetensors", ".py"))}
        unchanged = sorted(text & kept - {*made})
        differs = sorted(expected ^ recorded)
        differs += [path for path in sorted(text & {*made}) if not _is_blob(published, path, made[path])]
        wrong = [path for path in unchanged if not published.unchanged(path, path)]
    except (HubUnreachable, AccessDenied) as error:
        return Finding(name, passed=None, detail=f"could not be checked: {error.message} {error.hint}")
    except PatcherError as error:
        return _by_another(item.model, name) or Finding(name, passed=False, detail=error.message)
    if not wrong and differs and (found := _by_another(item.model, name)):
        return found
    detail = f"{counted(len(unchanged))}, by what the Hub lists for {source.source}"
    return finding(name, [*wrong, *differs], detail)


def _report(model: PatchedModel, published: Published) -> Finding:
    name = "report_passed"
    if REPORT not in published.snapshot.paths:
        return Finding(name, passed=False, detail="the model was published without a verification")
    try:
        report = load_report(published.local(REPORT).parent)
    except (HubUnreachable, AccessDenied) as error:
        return Finding(name, passed=None, detail=f"could not be checked: {error.message} {error.hint}")
    except PatcherError as error:
        return Finding(name, passed=False, detail=error.message)
    assert report is not None
    if not report.passed:
        return Finding(name, passed=False, detail=f"failed: {', '.join(one.name for one in report.failed)}")
    other = not_verified(model, report, published.local(RECORD))
    return finding(name, other, f"{len(report.checks)} checks of exactly these bytes")


def _verdict(item: Publishable) -> Finding:
    return Finding("report_passed", item.passed, f"according to its own {item.record}")
