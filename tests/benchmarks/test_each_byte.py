"""The table of bytes comes out, on a small model; linked weights are verified and published in the run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.benchmarks.each_byte import Meter, measure, of_read_only_folder, ratios, render
from tests.benchmarks.shapes import SMALLEST, parameters, write_source
from tests.hub import LocalHub
from tests.hub.fixtures import client_env

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_weights_are_hashed_once_and_never_written(tmp_path: Path) -> None:
    rows = {row.name: row for row in measure(SMALLEST, tmp_path, all_commands=False)}
    weights = 4 * parameters(SMALLEST)
    assert weights < rows["floor: hashed once"].read < rows["floor: hashed once"].hashed + 2_000_000
    assert rows["floor: mapped once"].read < weights < rows["floor: hashed once"].hashed * 1.01
    patch, verify, publish = (rows[name] for name in ("patch --link: symlink", "verify", "publish"))
    assert patch.hashed >= weights > verify.hashed + publish.hashed
    assert max(patch.written, publish.written, verify.written) < weights / 2
    assert verify.mapped > weights / 2 and verify.requests == 0 < publish.requests
    assert len(render(list(rows.values())).splitlines()) == 7
    assert [one.met for one in ratios(SMALLEST, rows.values()) if "written" in one.name] == [True]


def test_weights_of_a_read_only_folder_are_read_once_and_get_a_second_name(tmp_path: Path) -> None:
    source = write_source(SMALLEST, tmp_path / "source")
    with LocalHub(tmp_path / "hub") as hub:
        meter = Meter(hub, tmp_path, client_env(hub.endpoint, tmp_path / "home", None))
        (row,) = of_read_only_folder(meter, source, tmp_path / "out")
    weights = 4 * parameters(SMALLEST)
    assert row.name in {f"patch of a read-only folder: {how}" for how in ("hard link", "reflink")}
    assert weights <= row.hashed < 1.1 * weights and row.written < weights / 2 and row.requests == 0
