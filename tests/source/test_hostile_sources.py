"""Files, links and names that would lead out of a folder, exhaust the machine or crash a parser are refused by name."""

# ruff: noqa: RUF005, RUF043, E501 - tables of bad input
from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from patcher.errors import CodeError, PatcherError, SourceError
from patcher.planning.plan import make_plan
from patcher.source.metadata import read_metadata, split_card
from patcher.source.names import check_auto_map, check_names
from patcher.source.snapshot import MAX_TEXT, resolve
from tests.conftest import MINI, Run

CODE = "modeling_gptbert.py"


@pytest.mark.parametrize(
    "name",
    ["../x.py", "a/../../x.py", "/etc/x", "C:\\x", "c:x.py", "a\\..\\b", "x\n.py", "x\x1b[2J.py", "x\u202egpj.py", ""]
    + ["a//b", "./x", "x.py.", "x.py ", "nul", "sub/CON.txt", "com1", ".git/hooks/post-checkout", "a/.GIT/config"]
    + ["x" * 300, "a/" * 600 + "x", "x\x00.py", "x\ud800.py"],
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
    ["../../x.Class", "/etc/passwd.Class", "C:\\x.Class", "a..b", "a.b/c", "x", "", "a.b c", 7, {"a": 1}, ["a.B", "../x.C"]]
    + ["/home/u/private--x.Class", "https://example.org/x--x.Class", "../x--x.Class", "a/b--../x.Class", "a/b/c--x.Y"],
)  # fmt: skip
def test_an_auto_map_that_names_no_class_is_refused(value: object, mini: Path) -> None:
    config = json.loads((mini / "config.json").read_text())
    config["auto_map"]["AutoTokenizer"] = value
    (mini / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="auto_map in config.json names"):
        make_plan(resolve(str(mini)))


def test_an_auto_map_of_tokenizers_is_accepted() -> None:
    check_auto_map({"AutoTokenizer": ["tok.Slow", None], "AutoModel": "a.b.C", "AutoConfig": "a/b--c.D"})


def test_an_auto_map_to_another_repository_is_refused(mini: Path) -> None:
    config = json.loads((mini / "config.json").read_text())
    config["auto_map"]["AutoModelForMaskedLM"] = "other/repo--modeling_gptbert.GptBertForMaskedLM"
    (mini / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="another repository"):
        make_plan(resolve(str(mini)))


# Links


@pytest.mark.parametrize("name", ["notes.txt", CODE])
def test_a_link_out_of_the_folder_is_refused(name: str, mini: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (mini / name).unlink(missing_ok=True)
    (mini / name).symlink_to("../secret")
    with pytest.raises(SourceError, match=f"'{name}' in .* is a link to"):
        resolve(str(mini))


def test_a_link_to_a_folder_is_refused(mini: Path, tmp_path: Path) -> None:
    for target in (tmp_path, mini):
        (mini / "sub").symlink_to(target)
        with pytest.raises(SourceError, match="'sub' in .* is a link to"):
            resolve(str(mini))
        (mini / "sub").unlink()


def test_a_link_to_itself_is_refused(mini: Path) -> None:
    (mini / "notes").symlink_to("../elsewhere")
    (mini.parent / "elsewhere").symlink_to("norbert4-mini/notes")
    with pytest.raises(SourceError, match="'notes' in .* is a link to"):
        resolve(str(mini))


def test_a_snapshot_in_the_hub_cache_may_link_to_its_blobs(mini: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--ltg--norbert4-base"
    snapshot = repository / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in mini.iterdir():
        path.rename(repository / "blobs" / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert make_plan(resolve(str(snapshot))).soft_cap.scale == 30


def test_a_folder_that_looks_like_the_hub_cache_gains_nothing(mini: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0"
    snapshot.parent.mkdir(parents=True)
    mini.rename(snapshot)
    private = tmp_path / "private"
    private.mkdir()
    (private / "secret").write_text("secret")
    (tmp_path / "models--a--b" / "blobs").symlink_to(private)
    (snapshot / "notes.txt").symlink_to("../../blobs/secret")
    with pytest.raises(SourceError, match=r"'notes.txt' in"):
        resolve(str(snapshot))


# Sizes and shapes


@pytest.mark.parametrize("name", [CODE, "config.json", "README.md"])
def test_a_huge_file_is_refused_before_it_is_read(name: str, mini: Path) -> None:
    os.truncate(mini / name, 1 << 30) if (mini / name).exists() else (mini / name).touch()
    begun = time.process_time()
    with pytest.raises(SourceError, match=f"{name} of .* has more than {MAX_TEXT:,} bytes"):
        make_plan(resolve(str(mini)))
    assert time.process_time() - begun < 5


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


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    "front",
    [LAUGHS, "a: " + "[" * 60_000, "\n" * 500_000, "a: " + "x" * 9_000_000, "a: \x00", "- " * 20_000, "? " * 20_000],
)
def test_metadata_made_to_exhaust_its_reader_is_left_alone(front: str) -> None:
    begun = time.process_time()
    assert read_metadata(f"---\nlicense: mit\n{front}\n---\n") in ({}, {"license": "mit"})
    assert time.process_time() - begun < 5


def test_metadata_of_usual_cards_is_read() -> None:
    assert read_metadata("\ufeff---\r\nlicense: mit\r\n\r\ntags: [a]\r\n---\r\n# x".lstrip("\ufeff")) == {
        "license": "mit",
        "tags": ["a"],
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("card", "yaml", "rest"),
    [
        ("---\na: 1\nb: 2\n---\n# x\n---\n", "a: 1\nb: 2\n", "# x\n---\n"),
        ("\n--- \na: 1\n---", "a: 1\n", ""),
        ("---\n---\n# x\n---\n", "", "# x\n---\n"),
        ("---\na: 1\n", "", "---\na: 1\n"),
        ("# x\n---\na: 1\n---\n", "", "# x\n---\na: 1\n---\n"),
        ("----\na: 1\n---\n", "", "----\na: 1\n---\n"),
    ],
)
def test_a_card_is_split_at_the_end_of_its_metadata(card: str, yaml: str, rest: str, end: str) -> None:
    found = split_card(card.replace("\n", end))
    assert tuple(part.replace(end, "\n") for part in found) == (yaml, rest)


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
