"""Makes safetensors of pickled weights where a repository has nothing else, in a process that runs none of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from patcher.errors import PatcherError, SourceError, VerificationError
from patcher.patching.record import Converted
from patcher.sandbox.guard import TIMEOUT, run_child
from patcher.source.snapshot import Snapshot

CHILD = "patcher.patching.convert_child"
SCRATCH = ".converting"


@dataclass(frozen=True)
class Converter:
    """Converts the weights of a snapshot into a folder; `timeout` is in seconds, for all of them."""

    timeout: float = TIMEOUT

    def __call__(self, snapshot: Snapshot, files: Mapping[str, str], folder: Path) -> tuple[Converted, ...]:
        """Write each target of `files` into `folder`, made of the pickle it maps to, and compare tensor by tensor.

        `torch.load(weights_only=True)` reads the pickles, so none of them can run code. Tensors that share memory in a
        pickle are written under each of their names: safetensors can't share, and code of this family loads both
        matrices by name whatever it declares as tied.

        Raises SourceError for a pickle that holds anything but named tensors, and PatcherError where a tensor that was
        read back differs.
        """
        weights = {target: origin for target, origin in files.items() if not target.endswith(".json")}
        renamed = {origin: target for target, origin in weights.items()}
        indexes = {t: _index(snapshot, origin, renamed) for t, origin in files.items() if t not in weights}
        scratch = folder / SCRATCH
        scratch.mkdir()
        try:
            request = {
                "files": [
                    [str(snapshot.local(origin).resolve()), str(scratch / f"{number}.safetensors")]
                    for number, origin in enumerate(weights.values())
                ],
            }
            try:
                answer = run_child(CHILD, request, scratch, "cpu", self.timeout)
            except VerificationError as error:
                raise SourceError(
                    f"The weights of {snapshot.source} could not be converted: {error.message}", error.hint
                ) from error
            made = []
            for number, (target, origin) in enumerate(weights.items()):
                made.append(self._take(snapshot, target, origin, answer["files"][number]))
                place = folder / target
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(scratch / f"{number}.safetensors", place)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        for target, content in indexes.items():
            (folder / target).write_bytes(content)
        return tuple(made)

    def _take(self, snapshot: Snapshot, target: str, origin: str, found: Mapping[str, Any]) -> Converted:
        if found["refused"] is not None:
            raise SourceError(
                f"{origin} of {snapshot.source} can't be converted: {found['refused']}.",
                "Nothing of it was run. Ask its authors for safetensors, or give a revision that has them.",
            )
        if found["differing"]:
            raise PatcherError(
                f"{target} is not equal to {origin} of {snapshot.source} in {', '.join(found['differing'][:3])}.",
                "Nothing was written. Check the memory and the disk of this machine, then run the command again.",
            )
        return Converted(target, origin, found["tensors"], tuple(tuple(names) for names in found["tied"]))


def _index(snapshot: Snapshot, path: str, names: Mapping[str, str]) -> bytes:
    """The index of shards with the new names in it. `names` maps the path of a pickle to that of its safetensors."""
    folder = path.rpartition("/")[0]
    try:
        index = json.loads(snapshot.read(path))
        renamed = partial(_renamed, folder, names)
        index["weight_map"] = {name: renamed(file) for name, file in index["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path} of {snapshot.source} is no index of weights that are there ({type(error).__name__}: {error}).",
            "Mend that file, or give a complete repository.",
        ) from error
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()


def _renamed(folder: str, names: Mapping[str, str], file: str) -> str:
    return names[f"{folder}/{file}" if folder else file].rpartition("/")[2]
