"""Many models through one process that has imported torch once: each in a fork of its own, none in another's way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import VerificationError
from patcher.sandbox.guard import popen, run_child
from patcher.verify import zygote
from patcher.verify.zygote import imported_once

CHILD = "tests.pipeline.probe"
Runner = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def run() -> Iterator[Runner]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_recognisableFakeToken0123456789")
        with imported_once() as start:
            yield partial(run_child, start=start)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Scratch folders, one for each child."""

    def folders() -> Iterator[Path]:
        for number in range(9):
            (tmp_path / f"scratch-{number}").mkdir()
            yield tmp_path / f"scratch-{number}"

    return folders()


def test_torch_is_loaded_once_and_nothing_of_one_model_reaches_the_next(run: Runner, scratch: Iterator[Path]) -> None:
    answers = []
    for _ in range(2):
        place = next(scratch)
        answer = run(CHILD, {"do": "look"}, place, "cpu", 60)
        assert Path(answer["cache"]).is_relative_to(place) and Path(answer["home"]).is_relative_to(place)
        assert answer["torch_was_there"] and answer["token"] is None
        answers.append(answer)
    assert answers[0]["parent"] == answers[1]["parent"], "one process for both"
    assert answers[1]["spoiled"] == [False, False, False]
    assert {Path(path).name for path in answers[1]["remote_code"]} == {"__init__.py"}


def test_a_fork_holds_no_way_to_answer_for_another(run: Runner, scratch: Iterator[Path]) -> None:
    answer = run(CHILD, {"do": "look"}, next(scratch), "cpu", 60)
    assert not [name for name in answer["files"] if name.startswith("pipe:")]


def test_what_a_model_started_does_not_outlive_it(run: Runner, scratch: Iterator[Path]) -> None:
    left = run(CHILD, {"do": "look"}, next(scratch), "cpu", 60)["left"]
    time.sleep(0.2)
    stat = Path(f"/proc/{left}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_crash_and_a_time_out_are_told_and_the_next_model_runs_in_the_same_process(
    run: Runner, scratch: Iterator[Path]
) -> None:
    before = run(CHILD, {"do": "look"}, next(scratch), "cpu", 60)["parent"]
    with pytest.raises(VerificationError, match="ValueError: the model is a teapot"):
        run(CHILD, {"do": "crash"}, next(scratch), "cpu", 60)
    with pytest.raises(VerificationError, match="did not finish within 2 seconds"):
        run(CHILD, {"do": "sleep"}, next(scratch), "cpu", 2)
    assert run(CHILD, {"do": "look"}, next(scratch), "cpu", 60)["parent"] == before


def test_a_model_that_takes_the_process_down_fails_alone(run: Runner, scratch: Iterator[Path]) -> None:
    before = run(CHILD, {"do": "look"}, next(scratch), "cpu", 60)["parent"]
    with pytest.raises(VerificationError):
        run(CHILD, {"do": "kill the parent"}, next(scratch), "cpu", 60)
    after = run(CHILD, {"do": "look"}, next(scratch), "cpu", 60)
    assert after["parent"] != before and after["spoiled"] == [False, False, False]


def test_where_nothing_can_be_forked_each_model_gets_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote.sys, "platform", "darwin")
    with imported_once() as start:
        assert start is popen
