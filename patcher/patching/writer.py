"""Writes the patched folder beside its final path and renames it, so that it is complete or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from patcher import __version__
from patcher.codec import json_text, to_json
from patcher.constants import RECORD, TOOL
from patcher.errors import PatcherError, UsageError
from patcher.hashing import copy_hashed, remember, sha256_of, two_at_a_time
from patcher.patching import sharing
from patcher.patching.record import Converted, FileRecord, PatchedModel, Tool, line_changes
from patcher.patching.sharing import COPY
from patcher.patching.staging import atomic_directory, check_output, write_atomically
from patcher.planning.files import check_loadable
from patcher.planning.layout import loaded_weights
from patcher.planning.plan import Plan
from patcher.source.snapshot import File, Snapshot, altered, fetch

Convert = Callable[[Snapshot, Mapping[str, str], Path], tuple[Converted, ...]]


@contextmanager
def staged_model(
    plan: Plan,
    snapshot: Snapshot,
    out: Path,
    *,
    code_only: bool = False,
    storage: str = sharing.AUTO,
    convert: Convert | None = None,
    on_begin: Callable[[list[Path]], None] = lambda _: None,
    on_fetched: Callable[[Snapshot], Plan] | None = None,
) -> Iterator[PatchedModel]:
    """Write the patched folder beside `out`, let the caller add files to it, and rename it to `out` at the end.

    Whatever interrupts this, `out` is the complete old folder or the complete new one. An `out` that splade-patcher
    wrote is replaced; any other is refused. `code_only` records the hashes of the safetensors without copying them;
    `storage` says how they come here otherwise (see `sharing`). `convert` makes safetensors of pickled weights.
    `on_begin` gets the folder that is written, empty yet, and what a run of the model reads beside it: before weights
    are downloaded, unless a run reads these where the download puts them. `on_fetched` gets the source once all of it
    is here, gives the plan to follow, and may raise before anything of it is copied.

    Raises OutputError where `out` can't be written or is not ours, SourceError where there are no safetensors and
    nothing to make them of.
    """
    check_output(out)
    pickles = tuple(plan.files.converted.values()) if convert else ()
    if pickles and code_only:
        raise UsageError(
            f"{plan.source} has pickled weights, which have to be converted on this machine.", "Leave out --code-only."
        )
    weights = loaded_weights(snapshot, plan.encoders or ("",))
    check_loadable(snapshot, weights, pickled=bool(pickles))
    needed = [*_carried(plan, code_only=code_only), *pickles]
    read_there = storage == sharing.LINK or pickles
    late = read_there and not snapshot.has(needed)
    with atomic_directory(out) as stage:
        if not late:
            on_begin([stage, *snapshot.readable])
        snapshot = fetch(snapshot, needed)
        plan = on_fetched(snapshot) if on_fetched else plan
        wanted = _carried(plan, code_only=code_only)
        if late:
            on_begin([stage, *snapshot.readable])
        shared = _share(snapshot, [path for path in wanted if path.endswith(".safetensors")], stage, storage)
        _check_room(snapshot, [path for path in (*wanted, *pickles) if shared.get(path, COPY) == COPY], stage.parent)
        converted = convert(snapshot, plan.files.converted, stage) if convert and pickles else ()
        yield _write(plan, snapshot, stage, wanted, converted, shared)


def _carried(plan: Plan, *, code_only: bool) -> list[str]:
    return [path for path in plan.files.copied if not (code_only and path.endswith(".safetensors"))]


def _share(snapshot: Snapshot, weights: Iterable[str], stage: Path, storage: str) -> dict[str, str]:
    """How each weight file is stored: those that are not to be copied are in the folder afterwards."""
    shared = {}
    for path in weights:
        (stage / path).parent.mkdir(parents=True, exist_ok=True)
        shared[path] = sharing.share(snapshot.local(path), stage / path, storage) or COPY
    return shared


def _write(
    plan: Plan,
    snapshot: Snapshot,
    stage: Path,
    carried: list[str],
    converted: tuple[Converted, ...],
    shared: Mapping[str, str],
) -> PatchedModel:
    """Write rewritten code, unchanged copies and, last, the record.

    Converted weights, and those that are not copied, are in the folder already.
    """
    listed = {file.path: file for file in snapshot.files}
    origins = {**plan.files.added, **(plan.files.converted if converted else {})}

    def write(path: str) -> FileRecord:
        target, origin = stage / path, origins.get(path)
        source = origin or path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in plan.contents:
            action = "added" if origin else "changed"
            target.write_bytes(plan.contents[path])
        else:
            action = "converted" if origin else "copied"
        if action != "copied":
            before, after = sha256_of(snapshot.local(source)), sha256_of(target)
        elif path not in carried:
            before = after = _hash_of_left(snapshot, listed[path])
        else:
            not_copied = shared.get(path, COPY) != COPY
            before = after = sha256_of(target) if not_copied else copy_hashed(snapshot.local(path), target)
        if before != (listed[source].sha256 or before):
            raise altered(snapshot, source)
        size = target.stat().st_size if target.exists() else listed[path].size or 0
        return FileRecord(path, action, before, after, size, origin, shared.get(path))

    paths = sorted((*plan.files.changed, *plan.files.copied, *origins))
    weights = [path for path in paths if path.endswith(".safetensors")]
    records = [*two_at_a_time(write, weights), *map(write, [path for path in paths if path not in weights])]
    records.sort(key=lambda file: file.path)
    remember({stage / file.path: file.after for file in records if file.storage in (COPY, sharing.REFLINK)})
    return _record(plan, stage, records, converted)


def _hash_of_left(snapshot: Snapshot, file: File) -> str:
    """The SHA-256 of weights that stay where they are, which is listed by the Hub or computed."""
    if file.sha256 is None and (snapshot.root is None or not (snapshot.root / file.path).is_file()):
        raise PatcherError(
            f"{file.path} can't be left on the Hub: the source does not list its SHA-256.", "Leave out --code-only."
        )
    return file.sha256 or sha256_of(snapshot.local(file.path))


def rewrite(plan: Plan, model: PatchedModel) -> PatchedModel:
    """Write the code of another plan of the same source into a staged folder; leave everything else unchanged."""
    records = []
    for file in model.files:
        if file.path in plan.contents:
            content = plan.contents[file.path]
            (model.folder / file.path).write_bytes(content)
            action = "added" if file.path in plan.files.added else "changed"
            file = replace(file, action=action, after=hashlib.sha256(content).hexdigest(), size=len(content))
        records.append(file)
    return _record(plan, model.folder, records, model.converted)


def _record(plan: Plan, stage: Path, records: list[FileRecord], converted: tuple[Converted, ...]) -> PatchedModel:
    """Write patch.json."""
    model = PatchedModel(
        folder=stage,
        tool=Tool(TOOL, __version__),
        versions={"python": platform.python_version()}
        | {name: version(name) for name in ("libcst", "huggingface_hub")},
        source=plan.source,
        auto_class=plan.auto_class,
        soft_cap=plan.soft_cap,
        kept_cap=plan.kept_cap,
        encoders=plan.encoders,
        codemods=plan.codemods,
        diff=plan.diff,
        options=plan.options,
        base_card=plan.base_card,
        files=tuple(records),
        converted=converted,
        dropped=tuple({"path": path, "reason": reason} for path, reason in plan.files.dropped.items()),
        originals=plan.originals,
        base={path: line_changes(plan.originals[path], code) for path, code in plan.base.items()},
    )
    write_atomically(stage / RECORD, json_text(to_json(model)))
    return model


def _check_room(snapshot: Snapshot, paths: list[str], parent: Path) -> None:
    """Raise OSError before anything is copied where the files don't fit on the disk."""
    needed = sum(file.size or 0 for file in snapshot.files if file.path in paths)
    if needed > shutil.disk_usage(parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
