"""Writes the patched folder: built beside its place and moved in whole, so that it is complete or absent."""

from __future__ import annotations

import base64
import ctypes
import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from patcher import __version__
from patcher.codemods import SoftCap
from patcher.constants import CARD, DRAWN, RECORD, REPORT, SCHEMA_VERSION, TOOL
from patcher.errors import OutputError, PatcherError, UsageError, from_os
from patcher.planning.plan import Plan
from patcher.planning.rewriting import Options
from patcher.source.names import is_repository, why_unsafe
from patcher.source.snapshot import Snapshot, Source, fetch, sha256_of, weights

_RECORDED = {"source", "soft_cap", "kept_cap", "encoders", "codemods", "diff"}  # what patch.json repeats of the plan


@dataclass(frozen=True)
class FileRecord:
    """One file of the patched folder: its SHA-256 in the source and here, its size here in bytes.

    `origin` is the path of the source's file where that is another one: a pickle that was converted, or code of which
    this is one more copy.
    """

    path: str
    action: str  # "changed", "copied", "converted" or "added"
    before: str
    after: str
    size: int
    origin: str | None = None

    @property
    def source_path(self) -> str:
        """Where the source has what this file was made of."""
        return self.origin or self.path

    @property
    def carried(self) -> str:
        """SHA-256 that the file must have to hold what the source holds: converted weights have one of their own."""
        return self.after if self.action == "converted" else self.before

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "action": self.action,
            "sha256_before": self.before,
            "sha256_after": self.after,
            "size": self.size,
            "origin": self.origin,
        }


@dataclass(frozen=True)
class Converted:
    """Weights that were pickled in `origin` and are safetensors in `path`: every tensor equal, byte by byte.

    `tied` are groups of names that shared one memory in the pickle and have equal values here.
    """

    path: str
    origin: str
    tensors: int
    tied: tuple[tuple[str, ...], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "origin": self.origin,
            "tensors": self.tensors,
            "tied": [list(names) for names in self.tied],
        }


Convert = Callable[[Snapshot, Mapping[str, str], Path], tuple[Converted, ...]]


@dataclass(frozen=True)
class PatchedModel:
    """A patched folder and its record of where every file came from (`patch.json`).

    `soft_cap`, `kept_cap` and `encoders` are those of the plan.
    """

    folder: Path
    source: Source
    options: Options
    soft_cap: SoftCap | None
    files: tuple[FileRecord, ...]
    originals: Mapping[str, bytes]
    diff: str
    record: Mapping[str, Any]
    encoders: tuple[str, ...] = ()
    converted: tuple[Converted, ...] = ()
    kept_cap: SoftCap | None = None

    def file(self, path: str) -> FileRecord | None:
        """The record of one file, or None."""
        return next((file for file in self.files if file.path == path), None)

    @property
    def what_runs(self) -> str:
        """What a verification of this folder runs, for people."""
        return "the base and the patched model" if self.soft_cap else "the repaired model"

    @property
    def weights(self) -> tuple[FileRecord, ...]:
        """The records of the safetensors files."""
        return tuple(file for file in self.files if file.path.endswith(".safetensors"))

    def weights_of(self, folder: str) -> tuple[FileRecord, ...]:
        """The records of the safetensors files that lie in one folder of the model."""
        return tuple(file for file in self.weights if file.path.rpartition("/")[0] == folder)

    def source_weights(self, file: FileRecord) -> Path:
        """The source's own copy of a weight file where this machine has it unchanged, else the folder's.

        Of converted weights the source's copy is the pickle that they were made of.
        """
        found: Path | None = None
        if self.source.path is not None:
            found = Path(self.source.path) / file.source_path
        elif self.source.repo_id is not None:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(self.source.repo_id, file.source_path, revision=self.source.revision)
            found = Path(cached) if isinstance(cached, str) else None
        if found is not None and found.is_file() and sha256_of(found) == file.before:
            return found.absolute()
        return (self.folder / file.path).resolve()

    @property
    def code_only(self) -> bool:
        """Whether the weights were left on the Hub."""
        return any(not (self.folder / file.path).is_file() for file in self.weights)


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


@contextmanager
def whole(out: Path, record: str = RECORD) -> Iterator[Path]:
    """An empty folder beside `out` that takes its place in one step when the caller is done, and else is removed.

    An `out` that holds `record`, written by splade-patcher, is replaced. Raises OutputError for any other, and where
    `out` can't be written.
    """
    out = Path(os.path.abspath(out))
    check_output(out, record)
    stage = out.parent / f".{out.name}.{os.getpid()}.partial"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        stage.mkdir()
        yield stage
        check_output(out, record)  # somebody may have put something there meanwhile
        _swap(stage, out)
    except OSError as error:
        raise from_os(error, str(out)) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def load(folder: Path) -> PatchedModel:
    """Read the record of a patched folder. Raises OutputError where there is none or it is not one of ours."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        return from_record(folder, record)
    except FileNotFoundError as error:
        raise OutputError(
            f"{folder} is not a patched folder: it has no {RECORD}.", "Make one with `patcher patch SOURCE --out DIR`."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{folder / RECORD} is not a record that this version of {TOOL} understands.",
            "Make the folder again with `patcher patch`.",
        ) from error


def check_output(out: Path, record: str = RECORD) -> None:
    """Refuse an output that is there and that is not wholly splade-patcher's, as `record` tells. Raises OutputError."""
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    found: Any = None
    try:
        if not out.is_symlink():
            found = json.loads((out / record).read_text("utf-8"))
            ours = found["tool"]["name"] == TOOL
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found is None or not ours:
        raise OutputError(
            f"{out} exists and was not written by {TOOL}; it was left as it is.",
            "Choose another folder, or remove that one yourself.",
        )
    foreign = _foreign(out, found) if record == RECORD else []
    if foreign:
        raise OutputError(
            f"{out} also holds what {TOOL} did not write ({', '.join(foreign[:3])}); it was left as it is.",
            "Move that elsewhere, or choose another folder.",
        )


def _foreign(out: Path, record: Mapping[str, Any]) -> list[str]:
    """Files in a patched folder that its record does not know: notes, checkpoints, somebody's work."""
    known = {CARD, RECORD, REPORT, *DRAWN, *(str(file["path"]) for file in record["files"])}
    there = (path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file() or path.is_symlink())
    skipped = {".cache", "__pycache__"}
    return [path.as_posix() for path in there if path.as_posix() not in known and not skipped.intersection(path.parts)]


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
        **{key: value for key, value in plan.as_json().items() if key in _RECORDED},
        "options": plan.options.as_json(),
        "base_card": dict(plan.base_card),
        "files": [file.as_json() for file in records],
        "converted": [weights.as_json() for weights in converted],
        "dropped": plan.files.as_json()["dropped"],
        "originals": {path: base64.b64encode(content).decode() for path, content in plan.originals.items()},
    }
    (stage / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return from_record(stage, record)


def from_record(folder: Path, record: Mapping[str, Any]) -> PatchedModel:
    """The value behind a `patch.json`. Raises KeyError, TypeError or ValueError where it is none."""
    if record["tool"]["name"] != TOOL or record["schema_version"] != SCHEMA_VERSION:
        raise ValueError("another tool or another schema")
    for key, kind in (("diff", str), ("codemods", list), ("base_card", dict), ("originals", dict)):
        if not isinstance(record[key], kind):
            raise TypeError(key)
    named = [path for file in record["files"] for path in (file["path"], file.get("origin")) if path is not None]
    if any(why_unsafe(path) is not None for path in (*named, *record["originals"])):
        raise ValueError("a path that leads out of the folder")
    if any(why_unsafe(folder) is not None for folder in record.get("encoders", ()) if folder):
        raise ValueError("a folder that lies elsewhere")
    repo_id = record["source"]["repo_id"]
    if repo_id is not None and not is_repository(repo_id):
        raise ValueError("a source that is no repository")
    return PatchedModel(
        folder=folder,
        source=Source(**record["source"]),
        options=Options.from_json(record["options"]),
        soft_cap=_cap(record["soft_cap"]),
        kept_cap=_cap(record.get("kept_cap")),
        files=tuple(
            FileRecord(f["path"], f["action"], f["sha256_before"], f["sha256_after"], f["size"], f.get("origin"))
            for f in record["files"]
        ),
        originals={path: base64.b64decode(text) for path, text in record["originals"].items()},
        diff=record["diff"],
        record=record,
        encoders=tuple(record.get("encoders", ())),
        converted=tuple(
            Converted(w["path"], w["origin"], w["tensors"], tuple(tuple(names) for names in w["tied"]))
            for w in record.get("converted", ())
        ),
    )


def _cap(data: Mapping[str, Any] | None) -> SoftCap | None:
    if data is None:
        return None
    cap = dict(data)
    return SoftCap(class_name=cap.pop("class"), **cap)


def _check_room(snapshot: Snapshot, paths: list[str], parent: Path) -> None:
    """Say so before copying where the weights can't fit."""
    sizes = {file.path: file.size or 0 for file in snapshot.files}
    needed = sum(sizes[path] for path in paths)
    if needed > shutil.disk_usage(parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sweep(out: Path) -> None:
    """Remove what a killed run left: staging folders of processes that are no more."""
    for left in out.parent.glob(f".{out.name}.*.partial"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()


def _swap(stage: Path, out: Path) -> None:
    """Put the new folder in place. An old one changes places with it in one step where the system can do that."""
    if not out.exists() or not any(out.iterdir()):
        os.replace(stage, out)
        return
    if not _exchange(stage, out):
        # Without an atomic exchange (macOS on some volumes, Windows) there is a moment with two complete folders
        # and neither at its place; the old one keeps a name that says what it is.
        aside = out.parent / f".{out.name}.{os.getpid()}.replaced"
        os.replace(out, aside)
        os.replace(stage, out)
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step: renameat2 with RENAME_EXCHANGE, on macOS renamex_np."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "renameat2"):
            at_cwd, exchange = -100, 2
            return bool(libc.renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0)
        if hasattr(libc, "renamex_np"):
            return bool(libc.renamex_np(os.fsencode(one), os.fsencode(other), 2) == 0)
    except (OSError, TypeError):
        pass
    return False
