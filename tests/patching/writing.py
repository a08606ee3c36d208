"""The miniature, patched and written as the package writes it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from patcher.hashing import sha256_of
from patcher.patching.record import PatchedModel, load
from patcher.patching.writer import staged_model
from patcher.planning.plan import Plan, make_plan
from patcher.source.snapshot import resolve
from tests.conftest import MINI


@lru_cache
def plan_of_mini() -> Plan:
    """Made once: these tests are about writing."""
    return make_plan(resolve(str(MINI)))


def write(out: Path) -> PatchedModel:
    with staged_model(plan_of_mini(), resolve(str(MINI)), out):
        pass
    return load(out)


def write_from(source: Path, out: Path) -> None:
    with staged_model(plan_of_mini(), resolve(str(source)), out):
        pass


def is_whole(folder: Path) -> bool:
    """Whether every file on record is there with the bytes on record."""
    return all(sha256_of(folder / file.path) == file.after for file in load(folder).files)
