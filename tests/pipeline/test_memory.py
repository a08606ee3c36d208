"""What fits is known before it begins: from the sizes of the weights, and from what the system has left."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.pipeline.memory import available_memory, memory_of
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from tests.conftest import MINI


def test_a_model_needs_more_the_larger_its_weights_are() -> None:
    snapshot = resolve(str(MINI))
    plan = make_plan(snapshot)
    larger = replace(
        snapshot, files=tuple(replace(one, size=4_310_000_000 if one.size else 0) for one in snapshot.files)
    )
    assert memory_of(plan, snapshot) > 620e6, "the high-water mark in docs/benchmarks.md"
    assert memory_of(plan, larger) > 11.4e9


def write_system(root: Path, groups: dict[str, tuple[str, str]]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (root / "proc/self/cgroup").write_text("0::/a/b\n")
    for name, (limit, used) in groups.items():
        folder = root / "sys/fs/cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 500\n")
    return root


@pytest.mark.parametrize(
    ("groups", "left"),
    [
        ({}, 8000 * 1024),
        ({"a/b": ("max", "0")}, 8000 * 1024),
        ({"a/b": ("max", "0"), "a": ("4000000", "1000000")}, 3_000_500),
        ({"a/b": ("2000000", "1000000"), "a": ("4000000", "1000000")}, 1_000_500),
        ({".": ("900", "0"), "a/b": ("max", "0")}, 1400),
    ],
)
def test_the_least_that_the_kernel_and_the_control_groups_leave_counts(
    tmp_path: Path, groups: dict[str, tuple[str, str]], left: int
) -> None:
    assert available_memory(write_system(tmp_path, groups)) == left


def test_where_the_system_does_not_say_half_of_the_memory_counts(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    assert 0 < available_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
