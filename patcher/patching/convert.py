"""Converts pickled weights to safetensors if a repository has nothing else, in a child that runs no code of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from patcher.constants import VERIFY_TIMEOUT
from patcher.errors import PatcherError, SourceError, VerificationError, see
from patcher.patching.messages import ConvertedFile
from patcher.patching.record import Converted
from patcher.sandbox.guard import Child, ask, started
from patcher.source.snapshot import Snapshot

CHILD = "patcher.patching.pickles"


def convert_weights(
    snapshot: Snapshot, files: Mapping[str, str], folder: Path, sandbox: str = "auto"
) -> tuple[Converted, ...]:
    """Write each target of `files` into `folder`, from the pickle it maps to, and compare tensor by tensor.

    `torch.load(weights_only=True)` reads the pickles, so none of them can run code. Tensors that share memory in a
    pickle are written under each of their names: safetensors can't share, and code of this family loads both
    matrices by name, whether it declares them as tied or not. `sandbox` is the level that confines the reading.

    Raises SourceError for a pickle that holds anything but named tensors, and PatcherError if a tensor that was
    read back differs.
    """
    weights = {target: origin for target, origin in files.items() if not target.endswith(".json")}
    renamed = {origin: target for target, origin in weights.items()}
    indexes = {t: _index(snapshot, origin, renamed) for t, origin in files.items() if t not in weights}
    made = []
    # The child's folder is on the disk of the target, so that a large file is renamed and not copied.
    pickles = [snapshot.local(origin).resolve() for origin in weights.values()]
    with started(CHILD, "cpu", pickles, sandbox, folder) as child:
        written = [child.scratch / f"{number}.safetensors" for number in range(len(weights))]
        answers = _run(child, snapshot, dict(zip(map(str, written), map(str, pickles), strict=True)))
        for found, path, (target, origin) in zip(answers, written, weights.items(), strict=True):
            made.append(_accept(snapshot, target, origin, found))
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, folder / target)
    for target, content in indexes.items():
        (folder / target).write_bytes(content)
    return tuple(made)


def _run(child: Child, snapshot: Snapshot, pickles: dict[str, str]) -> tuple[ConvertedFile, ...]:
    """Let the child convert the pickles; the keys are the files to write."""
    try:
        answers = ask(child, pickles, tuple[ConvertedFile, ...], VERIFY_TIMEOUT)
        if len(answers) != len(pickles):
            why = f"The child process's answer can't be read: {len(answers)} files instead of {len(pickles)}"
            raise VerificationError(why, "Run the same command again; HF_DEBUG=1 prints the traceback.")
    except VerificationError as error:
        why = f"The weights of {snapshot.source} could not be converted: {error.message}"
        raise SourceError(why, error.hint) from error
    return answers


def _accept(snapshot: Snapshot, target: str, origin: str, found: ConvertedFile) -> Converted:
    if found.refused is not None:
        raise SourceError(
            f"{origin} of {snapshot.source} can't be converted: {found.refused}.",
            "None of its code was run. Ask its authors for safetensors, or use a revision that has them."
            + see("pickle-refused"),
        )
    if found.differing:
        raise PatcherError(
            f"{target} differs from {origin} of {snapshot.source} in {', '.join(found.differing[:3])}.",
            "Nothing was written. Check the memory and the disk of this machine, then run the command again."
            + see("converted-weights-differ"),
        )
    return Converted(target, origin, found.tensors, found.tied)


def _index(snapshot: Snapshot, path: str, names: Mapping[str, str]) -> bytes:
    """The index of shards with the new file names. `names` maps the path of each pickle to that of its safetensors."""
    prefix = path.removesuffix(path.rpartition("/")[2])
    index = json.loads(snapshot.read(path))
    index["weight_map"] = {
        name: names[f"{prefix}{file}"].rpartition("/")[2] for name, file in index["weight_map"].items()
    }
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()
