"""An output is complete or absent, and a run that was ended goes on without losing or doubling a text."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher.errors import OutputError, UsageError
from patcher.retrieval import encoding
from patcher.retrieval.encoder import Settings
from patcher.retrieval.encoding import Encoding, Job, encode_file
from patcher.retrieval.model import AsPublished
from patcher.retrieval.vectors import Vectors
from patcher.sandbox.process import Interrupted
from patcher.source.snapshot import resolve
from tests.retrieval.fixtures import read_parquet
from tests.retrieval.made_up import WIDTH, dense, vectors_of

WINDOW, TOTAL = 4, 18
Calls = list[list[str]]


def vector(text: str) -> dict[int, float]:
    """The vector of a text that is a number: none for every fifth."""
    number = int(text)
    return {} if number % 5 == 4 else {number % WIDTH: 1.0 + number, WIDTH - 1: 0.5}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The texts that the model was asked for, one list per run; its vectors are made up, in windows of four."""
    found: Calls = []

    def encode(
        model: Any, texts: Mapping[str, Iterable[str]], settings: Settings, receive: Callable[..., None], place: Path
    ) -> Any:
        assert place.is_dir()
        found.append([])
        for kind, some in texts.items():
            listed = list(some) if kind == "document" else ["1", "2"]
            for number, start in enumerate(range(0, len(listed), WINDOW)):
                window = listed[start : start + WINDOW]
                found[-1] += window if kind == "document" else []
                receive(kind, number, vectors_of(*map(vector, window)))
        return type("Answer", (), {"terms": ("a.b", *map(str, range(1, WIDTH - 2))), "seconds": 2.0})

    monkeypatch.setattr(encoding, "encode", encode)
    monkeypatch.setattr(encoding, "WINDOW", WINDOW)
    return found


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{n}", "text": str(n)}) + "\n" for n in range(TOTAL)))
    return path


@pytest.fixture
def model(patched_once: Path) -> AsPublished:
    return AsPublished(resolve(str(patched_once)))


def run(model: AsPublished, texts: Path, stop_at: int = 0, **options: Any) -> Encoding:
    """Encode into `out` beside the texts; raise Interrupted after so many texts."""

    def progress(name: str, done: int, total: int) -> None:
        assert (name, total) == ("vectors", TOTAL)
        if done == stop_at:
            raise Interrupted

    return encode_file(model, Job(texts, "document", "parquet", texts.parent / "out", **options), progress)


def left(texts: Path) -> list[str]:
    return sorted(path.name for path in texts.parent.iterdir() if path.name.startswith((".", "out")))


def assert_whole(texts: Path) -> None:
    ids, vectors = read_parquet(texts.parent / "out")
    assert ids == [f"d{n}" for n in range(TOTAL)]
    assert np.array_equal(dense(vectors), dense(vectors_of(*(vector(str(n)) for n in range(TOTAL)))))
    assert left(texts) == ["out"]


def test_every_text_is_written_once_with_its_costs(model: AsPublished, texts: Path, calls: Calls) -> None:
    done = run(model, texts)
    assert_whole(texts)
    assert (done.texts, done.resumed, done.costs.empty, done.texts_per_second) == (TOTAL, 0, 3, TOTAL / 2)
    assert done.frequent_terms == (f"[{WIDTH - 1}]",), "a term for a dimension that the vocabulary does not have"
    assert done.costs.postings_per_query == (2 * 15 + 2) / 2, "of the two made-up questions"
    assert "3 texts have no active dim" in done.notes[0]


@pytest.mark.parametrize("stop_at", [4, 8, 16, 18])
def test_an_interrupted_run_goes_on_where_it_was(model: AsPublished, texts: Path, calls: Calls, stop_at: int) -> None:
    with pytest.raises(Interrupted):
        run(model, texts, stop_at)
    assert left(texts) == [".out.partial"]
    (texts.parent / ".out.partial" / "patcher-abandoned").mkdir()  # the folder of a child that was killed
    done = run(model, texts)
    assert_whole(texts)
    assert done.resumed == stop_at
    assert calls[1] == [str(n) for n in range(stop_at, TOTAL)]


def test_another_format_uses_the_vectors_again(
    model: AsPublished, texts: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="No space left"):
        patch.setattr(encoding, "write", full)
        run(model, texts)
    done = encode_file(model, Job(texts, "document", "milvus", texts.parent / "out"))
    assert len(calls) == 1 and done.resumed == TOTAL and done.left_out == 3
    assert len((texts.parent / "out").read_text().splitlines()) == TOTAL - 3
    assert "were left out: d4, d9, d14" in done.notes[0]


@pytest.mark.parametrize("change", ["texts", "model", "settings"])
def test_vectors_of_another_run_are_not_used(
    model: AsPublished, texts: Path, calls: Calls, patched: Path, change: str
) -> None:
    with pytest.raises(Interrupted):
        run(model, texts, 8)
    options: dict[str, Any] = {}
    if change == "texts":
        texts.write_text(texts.read_text().replace('"text": "17"', '"text": "1"'))
    elif change == "model":
        (patched / "config.json").write_text((patched / "config.json").read_text() + " ")
        model = AsPublished(resolve(str(patched)))
    else:
        options = {"settings": Settings(max_active_dims=5)}
    assert run(model, texts, **options).resumed == 0
    assert len(calls[1]) == TOTAL


def test_an_input_that_changes_meanwhile_gives_no_output(
    model: AsPublished, texts: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = encoding.write

    def changing(*arguments: Any) -> Any:
        found = real(*arguments)
        texts.write_text(texts.read_text() + " ")
        return found

    monkeypatch.setattr(encoding, "write", changing)
    with pytest.raises(OutputError, match="was changed while it was encoded"):
        run(model, texts)
    assert left(texts) == [".out.partial"]


def test_damaged_vectors_are_told(model: AsPublished, texts: Path, calls: Calls) -> None:
    with pytest.raises(Interrupted):
        run(model, texts, 8)
    next((texts.parent / ".out.partial").glob("document-*0.safetensors")).write_bytes(b"")
    with pytest.raises(OutputError, match="is damaged"):
        run(model, texts)
    assert left(texts) == [".out.partial"]


def test_two_processes_do_not_write_the_same_output(model: AsPublished, texts: Path, calls: Calls) -> None:
    context = multiprocessing.get_context("fork")
    work = texts.parent / ".out.partial"
    work.mkdir()
    locked, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(work / "lock", locked, done))
    other.start()
    try:
        assert locked.wait(30)
        with pytest.raises(OutputError, match="Another process is writing"):
            run(model, texts)
        assert (work / "lock").is_file()
    finally:
        done.set()
        other.join()
    run(model, texts)
    assert_whole(texts)


def _hold(path: Path, locked: Any, done: Any) -> None:
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        locked.set()
        done.wait(60)


def test_nothing_is_left_where_nothing_was_encoded(
    model: AsPublished, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Vectors:
        raise UsageError("no", "no")

    monkeypatch.setattr(encoding, "encode", fail)
    with pytest.raises(UsageError):
        run(model, texts)
    assert left(texts) == []


def test_what_exists_is_left_alone_and_wrong_options_are_told(texts: Path) -> None:
    with pytest.raises(OutputError, match="exists; it was left unchanged"):
        Job(texts, "document", "parquet", texts)
    with pytest.raises(UsageError, match="no format"):
        Job(texts, "document", "faiss", texts.parent / "out")
    with pytest.raises(UsageError, match="not a way to name dimensions"):
        Job(texts, "document", "parquet", texts.parent / "out", names="tokens")
    for scale in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(UsageError, match="not a scale"):
            Job(texts, "document", "lucene", texts.parent / "out", scale=scale)
