"""File names, repositories and classes that lead elsewhere are refused by name; usual ones are accepted."""

# ruff: noqa: RUF005, RUF043, E501 - tables of bad input
from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher.errors import SourceError
from patcher.planning.plan import make_plan
from patcher.source.names import check_auto_map, check_names
from patcher.source.snapshot import resolve
from tests.conftest import MINI


@pytest.mark.parametrize(
    "name",
    ["../x.py", "a/../../x.py", "/etc/x", "C:\\x", "c:x.py", "a\\..\\b", "x\n.py", "x\x1b[2J.py", "x\u202egpj.py", ""]
    + ["a//b", "./x", "x.py.", "x.py ", "nul", "sub/CON.txt", "com1", ".git/hooks/post-checkout", "a/.GIT/config"]
    + ["x" * 300, "a/" * 600 + "x", "x\x00.py", "x\ud800.py"]
    + [
        "x\u200b.py",
        "x\ufeff.py",
        "x\u00ad.py",
        "x\u3164.py",
        "x\u2800.py",
        "x\ufe0f.py",
        "x\U000e0101.py",
        "x\u2066.py",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(SourceError) as caught:
        check_names(["config.json", name], "a/b")
    assert repr(name) in caught.value.message


def test_names_that_are_one_file_where_case_does_not_count_are_refused() -> None:
    for pair in (["Model.py", "model.py"], ["\u00e5.py", "a\u030a.py"]):
        with pytest.raises(SourceError, match="one file where case is ignored"):
            check_names(pair, "a/b")


def test_usual_names_are_accepted() -> None:
    check_names([*(path.name for path in MINI.iterdir()), "1_SpladePooling/config.json", "bøker/æ (1).txt"], "a/b")


@pytest.mark.parametrize(
    "value",
    ["../../x.Class", "/etc/passwd.Class", "C:\\x.Class", "a..b", "a.b.C", "a.b/c", "x", "", "a.b c", 7, {"a": 1}, ["a.B", "../x.C"]]
    + ["/home/u/private--x.Class", "https://example.org/x--x.Class", "../x--x.Class", "a/b--../x.Class", "a/b/c--x.Y"],
)  # fmt: skip
def test_an_auto_map_that_names_no_class_is_refused(value: object, mini: Path) -> None:
    config = json.loads((mini / "config.json").read_text())
    config["auto_map"]["AutoTokenizer"] = value
    (mini / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="auto_map in config.json names"):
        make_plan(resolve(str(mini)))


def test_an_auto_map_of_tokenizers_is_accepted() -> None:
    check_auto_map({"AutoTokenizer": ["tok.Slow", None], "AutoModel": "b.C", "AutoConfig": "a/b--c.D"})
