"""The table comes out of every benchmark, on a model and texts so small that the ratios mean nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from patcher.retrieval.vectors import Vectors
from tests.benchmarks import (
    against_encode,
    bos,
    encoding,
    head,
    lists,
    many_texts,
    planning,
    startup,
    threshold,
    verify,
    xlarge,
)
from tests.benchmarks.processes import python, run
from tests.benchmarks.shapes import BASE, SMALLEST, XLARGE, parameters
from tests.benchmarks.table import COLUMNS, Comparison, machine, render
from tests.benchmarks.workshop import Workshop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
TOUCHED = "x = b'x' * ({megabytes} << 20)"  # unlike zeros, these are in memory


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    root = tmp_path_factory.mktemp("workshop")
    (root / "texts.txt").write_text("Oslo er hovedstaden.\nEn hest.\n", "utf-8")
    yield Workshop(root, pairs=1, texts=root / "texts.txt", warm_up=False)


def test_a_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_medians() -> None:
    row = Comparison("x", [1.0, 10.0, 30.0], [1.0, 20.0, 10.0], "s", 1.0)
    assert row.ratio == 1.0 and row.ratios == [1.0, 0.5, 3.0]
    assert row.cells() == ("x", "10.00 s", "10.00 s", "1.00 (0.50–3.00)", "≤ 1.00", "yes")


@pytest.mark.parametrize(
    ("limit", "at_least", "met"), [(1.4, False, "no"), (1.6, False, "yes"), (1.4, True, "yes"), (1.6, True, "no")]
)
def test_a_target_is_an_upper_or_a_lower_limit(limit: float, at_least: bool, met: str) -> None:
    assert Comparison("x", [3.0], [2.0], "B", limit, at_least).cells()[-1] == met


def test_a_row_without_a_target_is_neither_met_nor_missed() -> None:
    assert Comparison("x", [3.0], [2.0], "B").cells()[-2:] == ("", "")


def test_the_table_has_the_same_columns_for_a_terminal_and_for_the_readme() -> None:
    rows = [Comparison("one", [1.0], [2.0], "s", 1.1), Comparison("two", [5e6], [4e6], "B")]
    plain, markdown = render(rows).splitlines(), render(rows, markdown=True).splitlines()
    assert markdown[0] == f"| {' | '.join(COLUMNS)} |" and all(word in plain[0] for word in COLUMNS)
    assert len(plain) == 3 and len(markdown) == 4
    assert markdown[2] == "| one | 1.00 s | 2.00 s | 0.50 | ≤ 1.10 | yes |"


def test_the_machine_is_named_with_its_versions() -> None:
    assert "cores" in machine() and "torch " in machine()


def test_memory_is_that_of_a_process_and_of_the_child_that_it_waits_for(tmp_path: Path) -> None:
    child = f"{TOUCHED.format(megabytes=200)}; import time; time.sleep(0.3)"
    parent = (
        f"{TOUCHED.format(megabytes=100)}; import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    assert 300 << 20 < run(python("-c", parent), tmp_path).peak < 360 << 20


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such luck"):
        run(python("-c", "raise SystemExit('no such luck')"), tmp_path)


def test_the_shapes_have_the_published_numbers_of_parameters() -> None:
    """149 M and 987 M, with the input and the output matrix counted once."""
    millions = [(parameters(shape) - shape.vocabulary * shape.hidden) / 1e6 for shape in (BASE, XLARGE)]
    assert millions == [pytest.approx(149, abs=0.5), pytest.approx(987, abs=0.5)]


@pytest.mark.nightly
def test_verify_is_held_against_its_floor(workshop: Workshop) -> None:
    rows = list(verify.against_floor(workshop, workshop.model(SMALLEST), "smallest"))
    assert [(row.unit, row.limit) for row in rows] == [("s", 1.25), ("B", 1.1)]
    assert all(row.ratio > 0.1 for row in rows)
    assert min(rows[1].ours + rows[1].floor) > 100e6  # torch alone needs more


@pytest.mark.nightly
def test_many_texts_are_held_against_few(workshop: Workshop) -> None:
    (row,) = many_texts.flat(workshop, few=2, many=3)
    assert row.unit == "B" and 0.9 < row.ratio < 1.1


def test_the_sentences_differ() -> None:
    assert len({many_texts.sentence(number) for number in range(5000)}) == 5000


@pytest.mark.nightly
def test_verify_is_held_against_encode(workshop: Workshop) -> None:
    throughput, memory = against_encode.against_encode(workshop, workshop.model(SMALLEST), "smallest", times=1)
    assert throughput.at_least and throughput.ours[0] > 0 and memory.ours[0] > 100e6


@pytest.mark.nightly
def test_encoding_is_held_against_sparse_encoder_and_against_itself(workshop: Workshop) -> None:
    (row,) = encoding.throughput(workshop, workshop.model(SMALLEST), "smallest", times=1, sizes=(2,))
    assert row.at_least and row.limit == 1.0 and min(row.ours + row.floor) > 0 and "size 2," in row.name
    (row,) = encoding.flat(workshop, few=2, many=3)
    assert row.unit == "B" and 0.9 < row.ratio < 1.1


@pytest.mark.nightly
def test_a_large_model_is_held_against_the_machine(workshop: Workshop) -> None:
    rows = list(xlarge.verify(workshop, SMALLEST))
    assert rows[0].floor[0] == (workshop.model(SMALLEST).patched / "model.safetensors").stat().st_size
    assert 0 < rows[1].ratio < 1


def test_the_forward_pass_is_held_against_the_base_models(workshop: Workshop) -> None:
    (row,) = head.patched_against_base(workshop, workshop.model(SMALLEST), pairs=2, batch=1, length=4)
    assert len(row.ratios) == 2 and row.limit == 1.0


def test_an_encode_with_a_threshold_is_held_against_one_without(workshop: Workshop) -> None:
    rows = list(threshold.with_against_without(workshop, workshop.model(SMALLEST), pairs=2, texts=2))
    assert [(len(row.ratios), row.limit) for row in rows] == [(2, 1.02)] * 2 and "dropped" in rows[1].name


def test_help_is_held_against_that_of_the_client_of_the_hub(workshop: Workshop) -> None:
    read, modules = startup.against_hf(workshop)
    assert read.met and modules.met, "neither bytes nor modules vary"
    assert read.ours[0] > 1_000_000 and modules.ours[0] > 100


@pytest.mark.nightly
def test_two_jobs_are_held_against_one_and_an_encoder_against_none(workshop: Workshop) -> None:
    rows = list(lists.jobs(workshop, models=2, options=["--no-verify"]))
    rows += verify.with_sparse_encoder(workshop, workshop.model(SMALLEST), "smallest")
    assert [row.unit for row in rows] == ["s", "B"] * 2 and all(row.ratio > 0.1 for row in rows)


def test_an_index_without_the_bos_token_is_held_against_one_with_it() -> None:
    """Three documents of which the query matches two, repeated to six; dimension 0 stands for the bos token."""
    query, documents = [{2: 1.0, 3: 0.5}], [{2: 2.0}, {1: 1.0}, {2: 1.0, 3: 1.0}]
    ours, floor = (
        tuple(sparse([{**bos, **one} for one in some]) for some in (query, documents)) for bos in ({}, {0: 0.6931})
    )
    flops, postings, size, frequent, seconds, same = bos.compared(ours, floor, documents=6, pairs=2)
    assert flops.ours == [pytest.approx(2 / 3 + 1 / 3)] and flops.floor == [pytest.approx(2)]
    assert postings.ours == [6] and postings.floor == [12]
    assert size.floor[0] - size.ours[0] == 6 * 8 and (frequent.ours, frequent.floor) == ([1], [2])
    assert len(seconds.ratios) == 2 and min(seconds.ours) > 0 and same.ours == same.floor == [1]
    other = sparse([{**one, 0: 4.0 * number + 1} for number, one in enumerate(documents)])
    assert list(bos.compared(ours, (floor[0], other), documents=3, pairs=1))[-1].met is False


def sparse(rows: list[dict[int, float]]) -> Vectors:
    """Vectors of four dimensions."""
    pairs = [pair for row in rows for pair in sorted(row.items())]
    indices, values = (np.array(column) for column in zip(*pairs, strict=True))
    counts = np.array([len(row) for row in rows], dtype=np.int32)
    return Vectors(4, counts, indices.astype(np.int32), values.astype(np.float32))


@pytest.mark.nightly
def test_a_sweep_over_many_documents_is_held_against_one_over_few(workshop: Workshop) -> None:
    memory, speed = threshold.flat(workshop, SMALLEST, few=64, many=65)
    assert 0.8 < memory.ratio < 1.2 and memory.limit == 1.1
    assert speed.unit == "documents/s" and speed.ours[0] > 0


def test_planning_is_held_against_parsing(workshop: Workshop) -> None:
    (row,) = planning.sweep(workshop, passes=1, files=2)
    assert row.ours[0] > 0 and row.floor[0] > 0
