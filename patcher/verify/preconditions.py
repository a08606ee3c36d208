"""What running a model needs of this machine and of the model's files: checked before weights are fetched or loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from patcher.constants import CONFIG
from patcher.errors import MissingRequirement, SourceError, UsageError, VerificationError, see
from patcher.patching.record import PatchedModel
from patcher.source.snapshot import FETCH_LFS, IS_POINTER, POINTER, Snapshot

_LIBRARIES = ("torch", "transformers", "safetensors")
_VOCABULARIES = {"tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"}  # beside `*.model` and tokenizers of code
MAKE_REFERENCE = (
    "Create one with `python3 -m venv old && old/bin/pip install torch transformers==4.57.6`, then pass old/bin/python."
    + see("reference")
)
_MAX_HEADER = 100_000_000  # bytes; the limit of the format
_COPY = "Copy or download that file again."
_PROBE = "import torch; print(torch.cuda.is_available() * 'cuda', torch.backends.mps.is_available() * 'mps', 'cpu')"


def check_machine(devices: Sequence[str] = (), packages: Mapping[str, tuple[str, str]] = {}) -> None:
    """Raise MissingRequirement where a package or a device is missing.

    `packages` maps a package that is needed beside the libraries to what needs it and to what `pip install` gets.
    """
    wanted = {name: ("Running a model needs", f"'{name}'") for name in _LIBRARIES} | dict(packages)
    for name, (why, install) in wanted.items():
        if find_spec(name.replace("-", "_")) is None:
            raise MissingRequirement(f"{why} {name}, which is not installed.", f"pip install {install}")
    named = [device for device in devices if device in {"cuda", "mps"}]
    found = _devices() if named else []
    for device in named:
        if device not in found:
            raise no_device(device, found)


def check_reference(python: Path | None) -> None:
    """Raise UsageError where an interpreter was named that does not exist."""
    if python is not None and not python.is_file():
        raise UsageError(f"There is no interpreter {python}.", MAKE_REFERENCE)


def no_device(device: str, found: Iterable[str]) -> MissingRequirement:
    """The error for a device that torch does not find; `found` are those that it does."""
    why = f"There is no {device} device that torch can use here; it finds {', '.join(found)}."
    return MissingRequirement(why, "Leave out --device, or install a torch build that supports it.")


def check_folder(model: PatchedModel) -> None:
    """Raise SourceError where a patched folder lacks a file that a run needs, or has a broken one.

    Raises VerificationError where its weights were left on the Hub.
    """
    if model.code_only:
        why = f"{model.folder} holds no weights, so there is nothing to run."
        raise VerificationError(why, "Run `patcher patch` again without --code-only.")
    for path in (model.folder / file.path for file in model.weights):
        if path.is_symlink() and not path.exists():
            why = f"{path} is a link to {os.readlink(path)}, which is gone."
            raise VerificationError(why, "Run `patcher patch` again: it fetches the weights.")
    for file in model.files:
        if _is_needed(file.path) and not (model.folder / file.path).exists():
            why = f"{file.path}, which patch.json lists, is missing in {model.folder}."
            raise SourceError(why, "Make the folder again with `patcher patch`, or put that file back.")
    check_files({file.path: model.folder / file.path for file in model.files}, model.folder)


def check_snapshot(snapshot: Snapshot, paths: Collection[str], *, runs: bool = True) -> None:
    """Raise SourceError where one of these files of a model is on this machine and broken.

    The same where the model `runs` and has no tokenizer.
    """
    root = snapshot.root
    check_files({path: root / path for path in paths} if root else {}, snapshot.source, runs=runs)
    if runs and not any(map(_is_vocabulary, paths)):
        why = f"{snapshot.source} has no tokenizer: neither tokenizer.json nor a vocabulary."
        raise SourceError(why, "Put the tokenizer files of its base model there.")


def check_files(files: Mapping[str, Path], origin: object, *, runs: bool = True) -> None:
    """Raise SourceError for a file of `origin` that can't be what its name says; `files` maps paths to where they are.

    Reads JSON files and the first bytes of weights. Files that are not on this machine are skipped. Of a model that is
    only copied, not one that `runs`, pointers and truncated weights are refused and nothing else.
    """
    for path, file in files.items():
        if not path.endswith((".json", ".safetensors", ".bin", ".model", ".txt", ".py")) or not file.exists():
            continue
        try:
            problem = _problem(path, file, files, runs=runs)
        except OSError as error:
            raise SourceError(
                f"{path} of {origin} can't be read: {error.strerror or error}.", "Check that file and its permissions."
            ) from error
        if problem is not None:
            what, hint = problem
            raise SourceError(f"{path} of {origin} {what}.", hint)


def _problem(path: str, file: Path, files: Mapping[str, Path], *, runs: bool) -> tuple[str, str] | None:
    """What is wrong with a file, and what to do."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(len(POINTER))
        if start == POINTER:
            return IS_POINTER, FETCH_LFS
        if path.endswith((".safetensors", ".bin")) and not size:
            return "is empty", _COPY
        if path.endswith(".safetensors"):
            opened.seek(0)
            return _broken_safetensors(opened.read(8), size, opened, runs=runs)
    if not runs:
        return None
    if path.endswith(".bin") and "pytorch_model" in path:
        return (
            None if start[:1] == b"\x80" or zipfile.is_zipfile(file) else ("is truncated, or not a checkpoint", _COPY)
        )
    return _broken_json(path, file, files) if path.endswith(".json") else None


def _broken_safetensors(start: bytes, size: int, opened: Any, *, runs: bool) -> tuple[str, str] | None:
    """Whether the header is one, and the file as long as its header says."""
    length = int.from_bytes(start, "little")
    other = ("is not a safetensors file", _COPY) if runs else None
    if length > _MAX_HEADER:
        return other
    try:
        header = json.loads(opened.read(length))
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return ("is truncated", _COPY) if runs and len(start) + length > size else other
    expected = 8 + length + max(ends, default=0)
    what = "is truncated" if size < expected else "is damaged"
    return None if size == expected else (f"{what}: it has {size:,} bytes instead of {expected:,}", _COPY)


def _broken_json(path: str, file: Path, files: Mapping[str, Path]) -> tuple[str, str] | None:
    """Whether JSON that loading reads can be read: configuration, tokenizer, the index of shards."""
    name = path.rpartition("/")[2]
    needed = name in {CONFIG, "modules.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    if not needed and not name.endswith(".index.json"):
        return None
    try:
        data = json.loads(file.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return f"is not valid JSON ({error})", "Fix that file, or copy or download it again."
    if name == "tokenizer.json" and not (isinstance(data, dict) and data.get("model")):
        return "is not a tokenizer: it has no model", _COPY
    if name.endswith(".index.json") and isinstance(data, dict) and isinstance(shards := data.get("weight_map"), dict):
        folder = path.removesuffix(name)
        missing = sorted({str(shard) for shard in shards.values() if f"{folder}{shard}" not in files})
        if missing and not all(one.endswith(".bin") for one in missing):  # those were converted
            return f"names {', '.join(missing[:3])}, which is missing", "Copy or download that file."
    return None


def _is_needed(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith((".py", ".safetensors", ".index.json")) or name == CONFIG or _is_vocabulary(path)


def _is_vocabulary(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name in _VOCABULARIES or name.endswith(".model") or (name.startswith("tokenization") and name[-3:] == ".py")


def _devices() -> list[str]:
    """The kinds of device that torch finds, in a process of its own: importing it costs this one more than it needs."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    return done.stdout.split() or ["none"]
