"""Writes the patched folder: built beside its place and moved in whole, so that it is complete or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from patcher import __version__
from patcher.codec import to_json
from patcher.constants import RECORD, SCHEMA_VERSION, TOOL
from patcher.errors import PatcherError, UsageError
from patcher.patching.record import _RECORDED, Converted, FileRecord, PatchedModel, from_record
from patcher.patching.staging import check_output, whole
from patcher.planning.plan import Plan
from patcher.source.snapshot import Snapshot, fetch, sha256_of, weights

Convert = Callable[[Snapshot, Mapping[str, str], Path], tuple[Converted, ...]]


@contextmanager
def staged(
    plan: Plan, snapshot: Snapshot, out: Path, code_only: bool = False, convert: Convert | None = None
) -> Iterator[PatchedModel]:
    """Write the patched folder beside `out`, let the caller add to it, and move it in when the caller is done.

    Whatever interrupts this, `out` is the old folder or the new one, whole. An `out` that splade-patcher wrote is
    replaced; any other is refused. `code_only` leaves the safetensors where they are and records their hashes.
    `convert` makes safetensors of pickled weights.

    Raises OutputError where `out` can't be written or is not ours, SourceError where there are no safetensors and
    nothing to make them of.
    """
    check_output(out)
    pickles = tuple(plan.files.converted.values()) if convert else ()
    if pickles and code_only:
        raise UsageError(
            f"{plan.source} has pickled weights, which have to be converted here.", "Leave out --code-only."
        )
    heavy = pickles or weights(snapshot)
    wanted = [path for path in plan.files.copied if not (code_only and path.endswith(".safetensors"))]
    snapshot = fetch(snapshot, [*wanted, *pickles])
    with whole(out) as stage:
        _check_room(snapshot, [path for path in (*wanted, *pickles) if path in heavy], stage.parent)
        converted = convert(snapshot, plan.files.converted, stage) if convert and pickles else ()
        yield _write(plan, snapshot, stage, wanted, converted)


def _write(
    plan: Plan, snapshot: Snapshot, stage: Path, copied: list[str], converted: tuple[Converted, ...]
) -> PatchedModel:
    """Fill the staging folder: code rewritten, the rest byte for byte, the record last. Converted weights lie there."""
    listed = {file.path: file for file in snapshot.files}
    records = []
    origins = {**plan.files.added, **(plan.files.converted if converted else {})}
    for path in sorted((*plan.files.changed, *plan.files.copied, *origins)):
        target = stage / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in origins:
            if path in plan.contents:
                target.write_bytes(plan.contents[path])
            action, before = "added" if path in plan.contents else "converted", sha256_of(snapshot.local(origins[path]))
            records.append(FileRecord(path, action, before, sha256_of(target), target.stat().st_size, origins[path]))
        elif path in plan.contents:
            target.write_bytes(plan.contents[path])
            before = sha256_of(snapshot.local(path))
            records.append(FileRecord(path, "changed", before, sha256_of(target), target.stat().st_size))
        elif path in copied:
            shutil.copyfile(snapshot.local(path), target)
            before, after = listed[path].sha256 or sha256_of(snapshot.local(path)), sha256_of(target)
            if before != after:
                raise PatcherError(
                    f"{path} is not the file that {snapshot.source} lists: its SHA-256 differs.",
                    "Remove it from the local Hub cache (`hf cache rm`) and run the command again.",
                )
            records.append(FileRecord(path, "copied", before, after, target.stat().st_size))
        else:
            known = listed[path].sha256
            if known is None:
                raise PatcherError(
                    f"{path} can't be left on the Hub: the source does not tell its SHA-256.", "Leave out --code-only."
                )
            records.append(FileRecord(path, "copied", known, known, listed[path].size or 0))
    return _record(plan, stage, records, converted)


def rewrite(plan: Plan, model: PatchedModel) -> PatchedModel:
    """Put the code of another plan of the same source into a staged folder; everything else stays as it is there."""
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
    record = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": TOOL, "version": __version__},
        "versions": {
            "python": platform.python_version(),
            "libcst": version("libcst"),
            "huggingface_hub": version("huggingface_hub"),
        },
        **{key: value for key, value in to_json(plan).items() if key in _RECORDED},
        "options": to_json(plan.options),
        "base_card": dict(plan.base_card),
        "files": [file.as_json() for file in records],
        "converted": [weights.as_json() for weights in converted],
        "dropped": to_json(plan.files)["dropped"],
        "originals": to_json(plan.originals),
        "base": to_json(plan.base),
    }
    (stage / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return from_record(stage, record)


def _check_room(snapshot: Snapshot, paths: list[str], parent: Path) -> None:
    """Say so before copying where the weights can't fit."""
    sizes = {file.path: file.size or 0 for file in snapshot.files}
    needed = sum(sizes[path] for path in paths)
    if needed > shutil.disk_usage(parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
