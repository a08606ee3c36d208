"""Code and configuration made to exhaust the machine or to crash a parser are refused by name, and none of it runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from patcher.errors import CodeError, PatcherError, SourceError
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from tests.conftest import Run

CODE = "modeling_gptbert.py"


def test_an_auto_map_to_another_repository_is_refused(mini: Path) -> None:
    config = json.loads((mini / "config.json").read_text())
    config["auto_map"]["AutoModelForMaskedLM"] = "other/repo--modeling_gptbert.GptBertForMaskedLM"
    (mini / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="another repository"):
        make_plan(resolve(str(mini)))


BOMBS = {
    "parentheses": "x = " + "(" * 1_000_000,
    "closed parentheses": "x = " + "(" * 400_000 + ")" * 400_000,
    "brackets over lines": "x = " + "[\n" * 4_000 + "]\n" * 4_000,
    "parentheses in an f-string": "x = f'{" + "(" * 3_000 + ")" * 3_000 + "}'",
    "not": "x = " + "not " * 100_000 + "1",
    "minus": "x = " + "-" * 100_000 + "1",
    "sum": "x = " + "+".join(["a"] * 100_000),
    "attributes": "x = a" + ".b" * 100_000,
    "calls": "x = a" + "()" * 100_000,
    "elif": "if a:\n  pass\n" + "".join(f"elif a == {i}:\n  p{i}()\n" for i in range(10_000)),
    "lambda": "x = " + "lambda: " * 50_000 + "1",
    "indentation": "".join(" " * i + "if a:\n" for i in range(1_000)),
    "just too deep": "x = " + "-" * 200 + "1",
    "equal lines": "x = 1\n" * 100_000,
    "long": "x = 1\n#" + "y" * 2_000_000,
    "nul": "x = 1\x00",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_code_made_to_crash_a_parser_is_refused(bomb: str, mini: Path) -> None:
    path = mini / CODE
    path.write_bytes(path.read_bytes() + b"\n\n" + BOMBS[bomb].encode() + b"\n")
    begun = time.process_time()
    with pytest.raises(CodeError) as caught:
        make_plan(resolve(str(mini)))
    assert CODE in caught.value.message
    assert time.process_time() - begun < 10


def test_the_line_that_is_nested_too_deeply_is_named(mini: Path) -> None:
    (mini / CODE).write_text(f"a = 1\nb = {'-' * 200}1\n")
    with pytest.raises(CodeError, match="nested too deeply in line 2"):
        make_plan(resolve(str(mini)))


def test_a_comment_that_pretends_to_be_ours_is_judged_like_code(mini: Path) -> None:
    """An earlier patch leaves the statement it removed in a comment, which is parsed again."""
    text = (
        (mini / CODE)
        .read_text()
        .replace(
            "subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)",
            f"# splade-patcher: removed `x = {'(' * 100_000}`; a sigmoid is never negative",
        )
    )
    (mini / CODE).write_text(text)
    with pytest.raises(PatcherError):
        make_plan(resolve(str(mini)))


@pytest.mark.parametrize("text", ['{"a":' * 200_000, "[" * 1_000_000, "\x00", '{"a": ' + "9" * 100_000 + "}"])
def test_configuration_made_to_crash_a_parser_is_refused(text: str, mini: Path) -> None:
    (mini / "config.json").write_text(text)
    with pytest.raises(SourceError, match=r"config\.json of .* is not valid JSON"):
        make_plan(resolve(str(mini)))


def test_no_command_but_a_verification_runs_the_code(cli: Run, mini: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = mini / CODE
    path.write_text(path.read_text() + f"\nopen({str(mark)!r}, 'w')\n")
    out = tmp_path / "out"
    for words in (["plan", mini], ["patch", mini, "--out", out, "--no-verify"], ["card", out]):
        done = cli(*words)
        assert done.returncode == 0, done.stderr
    cli("publish", out, "ola/model", "--dry-run", HF_ENDPOINT="http://127.0.0.1:9")
    assert not mark.exists()
