"""The parent takes each window of vectors once, in order, and nothing else from its child."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from patcher.errors import UsageError, VerificationError
from patcher.retrieval import encoder
from patcher.retrieval.encoder import Settings, _Inbox, encode
from patcher.retrieval.messages import chunk_name
from patcher.retrieval.model import find_model
from patcher.retrieval.vectors import Vectors
from patcher.source.snapshot import resolve
from patcher.threshold.repaired import repair
from patcher.threshold.save import save
from tests.retrieval.made_up import random_vectors
from tests.threshold.made_up import PASSED
from tests.threshold.models import CODE

Received = list[tuple[str, int, int]]


@pytest.fixture
def received() -> Received:
    return []


@pytest.fixture
def inbox(tmp_path: Path, received: Received, monkeypatch: pytest.MonkeyPatch) -> _Inbox:
    """Three windows of four texts are expected: two of documents, one of queries."""
    monkeypatch.setattr(encoder, "WINDOW", 4)
    counts = {"document": 7, "query": 2}
    return _Inbox(tmp_path, counts, lambda kind, number, found: received.append((kind, number, len(found))), 1000)


def put(folder: Path, kind: str, number: int, texts: int) -> None:
    (folder / chunk_name(kind, number)).write_bytes(random_vectors(texts, number).to_bytes())


def test_windows_are_taken_in_order_when_they_come(inbox: _Inbox, tmp_path: Path, received: Received) -> None:
    put(tmp_path, "document", 1, 3)
    inbox.collect()
    assert received == []
    put(tmp_path, "document", 0, 4)
    inbox.collect()
    assert received == [("document", 0, 4), ("document", 1, 3)] and not inbox.complete
    put(tmp_path, "query", 0, 2)
    inbox.collect()
    assert inbox.complete and not list(tmp_path.iterdir())


def test_another_number_of_texts_and_garbage_are_refused(inbox: _Inbox, tmp_path: Path) -> None:
    put(tmp_path, "document", 0, 5)
    with pytest.raises(VerificationError, match="not the vectors of 4 texts"):
        inbox.collect()
    (tmp_path / chunk_name("document", 0)).write_bytes(b"garbage")
    with pytest.raises(VerificationError, match="can't be read"):
        inbox.collect()


def test_a_link_and_a_pipe_are_not_followed(inbox: _Inbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(random_vectors(4).to_bytes())
    path = tmp_path / chunk_name("document", 0)
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(VerificationError, match="can't be read"):
        inbox.collect()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(VerificationError, match="can't be read"):
        inbox.collect()


def test_a_child_that_makes_no_progress_is_stopped(tmp_path: Path) -> None:
    inbox = _Inbox(tmp_path, {"query": 1}, lambda *_: None, -1)
    with pytest.raises(VerificationError, match="encoded nothing") as caught:
        inbox.collect()
    assert "--timeout" in caught.value.hint


def activations(folder: Path) -> Vectors:
    """The vector of one question, in a child."""
    found: list[Vectors] = []
    model = find_model(str(folder), None, repair)
    encode(model, {"query": ["Hvem skrev romanen Sult?"]}, Settings("cpu"), lambda *got: found.append(got[2]))
    return found[0]


def test_a_model_with_a_threshold_built_in_gives_the_activations_above_it(handmade: Path, tmp_path: Path) -> None:
    (handmade / "README.md").unlink(missing_ok=True)
    saved = save(repair(resolve(str(handmade))), PASSED, tmp_path / "with-threshold")
    vectors = activations(saved)
    assert 0 < vectors.counts[0] < 100 and vectors.values.min() >= PASSED.threshold


def test_a_model_trained_on_a_patched_base_encodes(trained: Path, patched_once: Path) -> None:
    shutil.copyfile(patched_once / CODE, trained / CODE)
    assert 0 < activations(trained).counts[0] < 1000


@pytest.mark.parametrize("name", ["batch_tokens", "max_tokens", "max_active_dims"])
def test_a_number_below_1_is_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match=name.replace("_", "-")):
        Settings(**{name: 0})


def test_an_error_of_the_model_is_told_and_its_options_reach_the_library(patched: Path) -> None:
    found: list[Vectors] = []
    model = find_model(str(patched), None, repair)
    settings = Settings("cpu", max_active_dims=3)
    encode(model, {"query": ["Hvem skrev romanen Sult?"]}, settings, lambda *got: found.append(got[2]))
    assert found[0].counts.tolist() == [3]
    code = (patched / CODE).read_text()
    (patched / CODE).write_text(code + "\nraise RuntimeError('nothing works')\n")
    with pytest.raises(VerificationError, match="The model can't encode: RuntimeError: nothing works"):
        encode(model, {"query": ["Hva?"]}, settings, lambda *_: None)
