"""What comes of each act, with the hook alone and inside of bubblewrap, is what the table says."""

from __future__ import annotations

import logging
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import VerificationError
from tests.sandbox.acts import ACTS, DENIES, DONE, ENDS, SECRET, Act
from tests.sandbox.conftest import LEVELS, reached_outside, surroundings
from tests.sandbox.stand_in import run_child
from tests.sandbox.table import PAGE, table

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the acts are those of a Linux system")
CHILD = "tests.sandbox.acts"
HEADER = Path(sysconfig.get_path("include"), "Python.h")


@pytest.fixture(scope="module", params=LEVELS)
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """The level, and what came of every act."""
    folder = tmp_path_factory.mktemp("acts")
    (folder / "scratch").mkdir()
    with surroundings(folder) as asked, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", asked["home"])
        given, scratch, outside = [Path(path) for path in asked["given"]], folder / "scratch", Path(asked["outside"])
        found = run_child(CHILD, {**asked, "do": "all"}, dict[str, str], scratch, "cpu", 120, given, request.param)
        return request.param, {
            slug: DONE if reached_outside(outside, slug) and outcome != ENDS else outcome
            for slug, outcome in found.items()
        }


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.slug)
def test_each_act_comes_to_what_the_table_says(act: Act, tried: tuple[str, dict[str, str]]) -> None:
    if act.what == "a compiler" and not (HEADER.exists() and shutil.which("cc")):
        pytest.skip("compiles C")
    level, found = tried
    assert found[act.slug] == (act.hook if level == "hook" else act.bubblewrap)


def test_the_documentation_shows_these_acts() -> None:
    assert table() in PAGE.read_text("utf-8"), "python -m tests.sandbox.table --write"


def test_the_acts_have_names_of_their_own() -> None:
    assert len({act.slug for act in ACTS}) == len(ACTS)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("act", [act for act in ACTS if act.hook == act.bubblewrap == ENDS][::6], ids=lambda a: a.slug)
def test_reaching_for_other_files_ends_the_run_and_is_told(
    act: Act, level: str, scratch: Path, request_of: dict[str, Any]
) -> None:
    with pytest.raises(VerificationError) as caught:
        run_child(CHILD, {**request_of, "do": act.what}, dict[str, Any], scratch, "cpu", 60, sandbox=level)
    said = caught.value.message
    assert said.startswith(("The model's code tried to read a private path", "The model's code tried to write outside"))
    assert said.endswith("it was stopped.") and SECRET not in str(caught.value)


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_denied_is_told_and_the_run_goes_on(
    level: str, scratch: Path, request_of: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    act = next(act for act in ACTS if act.hook == act.bubblewrap == DENIES and act.kind == "network")
    honest = {**request_of, "do": "socket.getfqdn()"}
    with caplog.at_level(logging.WARNING, "patcher"):
        assert run_child(CHILD, honest, dict[str, Any], scratch, "cpu", 60, sandbox=level) == {"done": "true"}
    assert "The model's code tried to use the network (socket.gethostbyaddr: " in caplog.text
    assert "which was denied" in caplog.text
    with pytest.raises(VerificationError, match=r"PermissionError: .*does not let a model use the network"):
        run_child(CHILD, {**request_of, "do": act.what}, dict[str, Any], scratch, "cpu", 60, sandbox=level)


@pytest.mark.parametrize("level", LEVELS)
def test_code_under_torch_compile_runs(level: str, scratch: Path) -> None:
    """Compiled inside of bubblewrap, and as it is where no compiler may start."""
    if level == "bubblewrap" and not shutil.which("g++"):
        pytest.skip("compiles C++")
    found = run_child(CHILD, {"do": "torch.compile"}, dict[str, Any], scratch, "cpu", 300, sandbox=level)
    assert found == {"done": [1.0, 1.0]} and not (scratch / "attempts.txt").read_text()
    compiled = any((scratch).rglob("*.so"))
    assert compiled is (level == "bubblewrap")


def test_without_a_sandbox_there_is_neither_a_hook_nor_bubblewrap(scratch: Path, request_of: dict[str, Any]) -> None:
    read = {**request_of, "do": "the token file of the Hub's client, by open"}
    assert run_child(CHILD, read, dict[str, Any], scratch, "cpu", 60, sandbox="none") == {"done": "true"}
