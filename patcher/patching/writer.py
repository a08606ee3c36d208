"""Writes the patched folder beside its final path and renames it, so that it is complete or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from patcher import __version__
from patcher.codec import json_text, to_json
from patcher.constants import RECORD, TOOL
from patcher.errors import PatcherError, UsageError
from patcher.patching.record import Converted, FileRecord, PatchedModel, Tool, line_changes
from patcher.patching.staging import atomic_directory, check_output, write_atomically
from patcher.planning.files import check_loadable
from patcher.planning.layout import loaded_weights
from patcher.planning.plan import Plan
from patcher.source.snapshot import Snapshot, altered, fetch, sha256_of

Convert = Callable[[Snapshot, Mapping[str, str], Path], tuple[Converted, ...]]


@contextmanager
def staged_model(
    plan: Plan,
    snapshot: Snapshot,
    out: Path,
    *,
    code_only: bool = False,
    convert: Convert | None = None,
    on_begin: Callable[[list[Path]], None] = lambda _: None,
) -> Iterator[PatchedModel]:
    """Write the patched folder beside `out`, let the caller add files to it, and rename it to `out` at the end.

    Whatever interrupts this, `out` is the complete old folder or the complete new one. An `out` that splade-patcher
    wrote is replaced; any other is refused. `code_only` records the hashes of the safetensors without copying them.
    `convert` makes safetensors of pickled weights. `on_begin` gets the folder that is written, empty yet, and that of
    the source.

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
    wanted = [path for path in plan.files.copied if not (code_only and path.endswith(".safetensors"))]
    snapshot = fetch(snapshot, [*wanted, *pickles])
    with atomic_directory(out) as stage:
        on_begin([stage, *([snapshot.root] if snapshot.root else [])])
        _check_room(snapshot, [*wanted, *pickles], stage.parent)
        converted = convert(snapshot, plan.files.converted, stage) if convert and pickles else ()
        yield _write(plan, snapshot, stage, wanted, converted)


def _write(
    plan: Plan, snapshot: Snapshot, stage: Path, copied: list[str], converted: tuple[Converted, ...]
) -> PatchedModel:
    """Write rewritten code, unchanged copies and, last, the record. Converted weights are in the folder already."""
    listed = {file.path: file for file in snapshot.files}
    records = []
    origins = {**plan.files.added, **(plan.files.converted if converted else {})}
    for path in sorted((*plan.files.changed, *plan.files.copied, *origins)):
        target, origin = stage / path, origins.get(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in plan.contents:
            action = "added" if origin else "changed"
            target.write_bytes(plan.contents[path])
        else:
            action = "converted" if origin else "copied"
        known = listed[origin or path].sha256
        if action == "copied" and path not in copied:
            if known is None:
                raise PatcherError(
                    f"{path} can't be left on the Hub: the source does not list its SHA-256.", "Leave out --code-only."
                )
            records.append(FileRecord(path, action, known, known, listed[path].size or 0))
            continue
        if action == "copied":
            shutil.copyfile(snapshot.local(path), target)
        after = sha256_of(target)
        before = known if known and action == "copied" else sha256_of(snapshot.local(origin or path))
        if before != (after if action == "copied" else known or before):
            raise altered(snapshot, origin or path)
        records.append(FileRecord(path, action, before, after, target.stat().st_size, origin))
    return _record(plan, stage, records, converted)


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
