"""What models need on the disk: said before a list begins, and given back where only their verification needed it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from patcher.documents.formatting import size
from patcher.errors import OutputError, from_os
from patcher.patching.record import PatchedModel
from patcher.patching.sharing import COPY, LINK, REFLINK, share
from patcher.planning.plan import Plan
from patcher.source.snapshot import Snapshot


@dataclass(frozen=True)
class Need:
    """Bytes that a model needs: `downloaded` into the Hub's cache, `written` into its folder."""

    downloaded: int = 0
    written: int = 0

    def __add__(self, other: Need) -> Need:
        return Need(self.downloaded + other.downloaded, self.written + other.written)

    @property
    def total(self) -> int:
        """Both together."""
        return self.downloaded + self.written


def need_of(plan: Plan, snapshot: Snapshot, out: Path, storage: str) -> Need:
    """What patching a model would need now, code and reports left out. Raises OutputError for a folder out of reach."""
    sizes = {file.path: file.size or 0 for file in snapshot.files}
    carried = [*plan.files.copied, *plan.files.converted.values()]
    missing = [path for path in carried if not _is_here(snapshot, path)]
    shared = _is_shared(snapshot, out, storage)
    written = [path for path in carried if not (shared and path.endswith(".safetensors"))]
    return Need(sum(sizes[path] for path in missing), sum(sizes[path] for path in written))


def check_room(needs: Collection[Need], out: Path, *, at_once: int | None = None) -> str:
    """What models need together, in words; with `at_once`, the weights of only so many are there at the same time.

    Raises OutputError where the disk has less.
    """
    from huggingface_hub import constants

    need = sum(sorted(needs, key=lambda one: -one.total)[:at_once], Need())
    cache = Path(constants.HF_HUB_CACHE).expanduser()
    same = _existing(cache).stat().st_dev == _existing(out).stat().st_dev
    asked = [(out, need.total)] if same else [(cache, need.downloaded), (out, need.written)]
    for place, wanted in asked:
        free = shutil.disk_usage(_existing(place)).free
        if wanted > free:
            raise OutputError(
                f"The list needs {size(wanted)} on the disk of {place}, which has {size(free)} free.",
                "Free disk space, add --link or --discard-weights, or shorten the list.",
            )
    return f"{size(need.downloaded)} to download and {size(need.written)} to write"


def discard_weights(model: PatchedModel, since: float) -> None:
    """Remove the weights that the Hub can copy: those of the folder, and what was downloaded after a time for them."""
    if model.source.repo_id is None:
        return
    for file in model.weights:
        if file.action == "copied":
            (model.folder / file.path).unlink(missing_ok=True)
            cached = model.source_copy(file)
            if cached is not None and cached.stat().st_mtime >= since:
                for path in reversed(_steps(cached)):
                    path.unlink()


def _steps(path: Path) -> list[Path]:
    """A file of the Hub's cache and the links that lead to it: from the snapshot to the repository's blobs, and on."""
    steps = [path]
    while steps[-1].is_symlink():
        steps.append(steps[-1].parent / os.readlink(steps[-1]))
    return steps


def _is_here(snapshot: Snapshot, path: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    source = snapshot.source
    if source.repo_id is None:
        return True
    return isinstance(try_to_load_from_cache(source.repo_id, path, revision=source.revision), str)


def _is_shared(snapshot: Snapshot, out: Path, storage: str) -> bool:
    """Whether the weights take no room in the folder: tried on a file of a few bytes."""
    from huggingface_hub import constants

    if storage in (LINK, COPY):
        return storage == LINK
    source = _existing(Path(snapshot.source.folder or constants.HF_HUB_CACHE).expanduser())
    place = _existing(out)
    if source.stat().st_dev != place.stat().st_dev:
        return False
    try:
        with tempfile.TemporaryDirectory(prefix=".room-", dir=place) as folder:
            probe = Path(folder, "probe")
            probe.write_bytes(b"x")
            probe.chmod(0o444)
            found = share(probe, Path(folder, "shared"))
            return found == REFLINK or (found is not None and snapshot.source.path is None)
    except OSError as error:
        raise from_os(error, str(out)) from error


def _existing(path: Path) -> Path:
    """A folder, or the nearest one above it that exists."""
    path = Path(os.path.abspath(path))
    return next(one for one in (path, *path.parents) if one.is_dir())
