"""Which models can encode texts for a search, and what a child needs of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from patcher.constants import CONFIG
from patcher.errors import UsageError, see
from patcher.planning.files import check_loadable, dropped_because
from patcher.planning.layout import MODULES, find_layout, loaded_weights, model_folders, read_json
from patcher.planning.plan import make_plan
from patcher.source.snapshot import Snapshot, fetch_checked, fetch_texts, resolve


class Runnable(Protocol):
    """A model whose code loads correctly."""

    @property
    def snapshot(self) -> Snapshot:
        """Where it is from."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the source that belong to the model."""

    def fetched(self) -> Runnable:
        """The same with every file on this machine. Raises SourceError where there are no safetensors."""

    def executed(self) -> Mapping[str, bytes]:
        """The Python files that loading it runs, by path."""

    def contents(self) -> Mapping[str, bytes | Path]:
        """Its files: what is in those that change, and where the others are."""


class Trained(Runnable, Protocol):
    """A trained SparseEncoder model with repaired code; `capped` says whether its head keeps the cap."""

    @property
    def capped(self) -> bool:
        """Whether every activation is above 0."""


@dataclass(frozen=True)
class AsPublished:
    """A model that needs no repair: a patched folder, one with a built-in threshold, or one without its own code."""

    snapshot: Snapshot

    @property
    def files(self) -> tuple[str, ...]:
        """The files that belong to the model."""
        return tuple(path for path in self.snapshot.paths if dropped_because(path) is None)

    def fetched(self) -> AsPublished:
        """The same with every file on this machine. Raises SourceError where there are no safetensors."""
        layout = find_layout(self.snapshot)
        weights = loaded_weights(self.snapshot, layout.encoders if layout else model_folders(self.snapshot))
        # Pooling has no weights, and neither has the model's own folder where a Router keeps its parts in others.
        check_loadable(self.snapshot, [one for one in weights if one.files] or weights, pickled=False)
        return replace(self, snapshot=fetch_checked(self.snapshot, self.files))

    def executed(self) -> Mapping[str, bytes]:
        """The Python files of the model."""
        paths = [path for path in self.files if path.endswith(".py")]
        snapshot = fetch_texts(self.snapshot, paths)
        return {path: snapshot.read(path) for path in paths}

    def contents(self) -> Mapping[str, bytes | Path]:
        """Where its files are."""
        return {path: self.snapshot.local(path) for path in self.files}


def find_model(source: str, revision: str | None, repair: Callable[[Snapshot], Trained]) -> Runnable:
    """The model of a patched folder, a trained SparseEncoder folder or a Hub id; `repair` reads a trained one.

    Fetches JSON and Python files only. Raises UsageError for a model whose activations are all above 0 because its cap
    is still there, and SourceError for what is not a model that can encode.
    """
    snapshot = resolve(source, revision)
    layout = find_layout(snapshot)
    if layout is not None and layout.threshold is None:
        trained = repair(snapshot)
        if trained.capped:
            raise UsageError(
                f"{snapshot.source} still has its cap, so every dimension of its vectors is active.",
                f"Build a threshold in with `patcher threshold {source} --save DIR`, then use DIR."
                + see("still-capped"),
            )
        return trained
    if layout is None and MODULES not in snapshot.paths:
        _check_masked_lm(source, snapshot)
    return AsPublished(snapshot)


def _check_masked_lm(source: str, snapshot: Snapshot) -> None:
    """Refuse a base model that was not patched."""
    if CONFIG not in snapshot.paths:
        raise snapshot.lacks(f"{snapshot.source} has no {CONFIG}.", "Use a model repository or a folder with one.")
    config = read_json(snapshot, CONFIG)
    if isinstance(config, dict) and config.get("auto_map") and not make_plan(snapshot).already_patched:
        raise UsageError(
            f"{snapshot.source} is a base model with its cap, so none of its activations is 0.",
            f"Remove it with `patcher patch {source} --out DIR`, then use DIR." + see("still-capped"),
        )
