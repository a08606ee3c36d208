"""The table of bytes comes out, on a small model; linked weights are verified and published in the run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.benchmarks.each_byte import measure, render
from tests.benchmarks.shapes import SMALLEST, parameters

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_weights_are_hashed_once_and_written_only_by_the_mode_that_saves_the_model(tmp_path: Path) -> None:
    rows = {row.name: row for row in measure(SMALLEST, tmp_path, all_commands=False)}
    weights = 4 * parameters(SMALLEST)
    assert weights < rows["floor: hashed once"].read < rows["floor: hashed once"].hashed + 2_000_000
    assert rows["floor: mapped once"].read < weights < rows["floor: hashed once"].hashed * 1.01
    patch, verify, publish = (rows[name] for name in ("patch --link: symlink", "verify", "publish"))
    assert patch.hashed >= weights > verify.hashed + publish.hashed
    assert max(patch.written, publish.written, verify.written - weights) < weights / 2
    assert verify.written > weights  # the mode `saved_and_loaded` saves one copy, below the scratch folder
    assert verify.mapped > weights / 2 and verify.requests == 0 < publish.requests
    assert len(render(list(rows.values())).splitlines()) == 7
