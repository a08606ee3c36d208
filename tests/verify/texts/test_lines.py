"""Text and JSON lines files are read line by line, or refused with file, line and a remedy."""

from __future__ import annotations

import os
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher.errors import UsageError
from patcher.verify.texts import lines, load_probe_texts, load_questions
from patcher.verify.texts.lines import Line, read_lines, read_objects, string


def refusal(path: Path) -> tuple[str, str]:
    """What is wrong with a user's file, and what to do."""
    with pytest.raises(UsageError) as caught:
        load_probe_texts(path)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        (b"", "", "is empty."),
        (b"\xef\xbb\xbf", "", "is empty."),
        (b"\n", ":1", "the line is empty"),
        (b"god dag\n \t\r\nkveld\n", ":2", "the line is empty"),
        (b"god dag\n\n", ":2", "the line is empty"),
        ("god dag\nblåbær\nkveld".encode("latin-1"), ":2", "is not UTF-8"),
        (b"god dag\ncut off \xc3", ":2", "is not UTF-8"),
        ("god dag".encode("utf-16"), ":1", "is not UTF-8"),
        (b"god dag\nni\0l\n", ":2", "holds a NUL character"),
        (b"god dag\n" + b"x" * 1_000_001, ":2", "longer than 1,000,000 characters"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_a_remedy(
    tmp_path: Path, content: bytes, place: str, problem: str
) -> None:
    for name in ("bad.txt", "bad.jsonl"):
        path = tmp_path / name
        path.write_bytes(content.replace(b"god dag", b'{"text": "god dag"}'))
        message, hint = refusal(path)
        assert message.startswith(f"{path}{place}: ") and problem in message
        assert hint.startswith(("Write", "Remove", "Save", "Split"))


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        ('{"text": "a"}\nno json\n', ":2", "is not JSON (Expecting value, column 1)"),
        ('{"text": "a"}\n["b"]\n', ":2", "is a JSON list, not an object"),
        ("[" * 100_000, ":1", "is not JSON that can be read"),
        ("9" * 5_000, ":1", "is not JSON that can be read"),
        ('{"txt": "a"}\n', ":1", '"text" is missing'),
        ('{"text": 7}\n', ":1", '"text" is not a string'),
        ('{"text": null}\n', ":1", '"text" is not a string'),
        ('{"text": " "}\n', ":1", '"text" is not a string, or is empty'),
        ('{"text": "a\\u0000b"}\n', ":1", "holds a NUL character"),
        ('{"text": "a\\ud800b"}\n', ":1", '"text" holds half a surrogate pair'),
        ('{"text": "a", "language": ["nb"]}\n', ":1", '"language" is not a string'),
        ('{"id": "x", "text": "a"}\n{"id": "x", "text": "b"}\n', ":2", "the id 'x' appears twice"),
        ('{"id": "line-2", "text": "a"}\n{"text": "b"}\n', ":2", "the id 'line-2' appears twice"),
    ],
)
def test_a_bad_json_line_is_named_with_its_number_and_a_remedy(
    tmp_path: Path, content: str, place: str, problem: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content, encoding="utf-8")
    message, hint = refusal(path)
    assert message.startswith(f"{path}{place}: ") and problem in message
    assert hint.startswith(("Give", "Write", "Remove"))


def test_a_file_of_more_characters_than_are_to_be_held_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_CHARACTERS_IN_ALL", 10)
    path = tmp_path / "mine.txt"
    path.write_text("fire\nfem\nseks\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        list(lines.read_lines(path))
    assert caught.value.message == f"{path}:3: the file is longer than 10 characters."


def test_no_more_is_read_than_up_to_the_bad_line(tmp_path: Path) -> None:
    fifo = tmp_path / "endless"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["sh", "-c", f"{{ echo god dag; echo; exec sleep 60; }} > '{fifo}'"])
    try:
        assert "endless:2: the line is empty" in refusal(fifo)[0]
        assert writer.poll() is None, "the writer is still busy"
    finally:
        writer.kill()
        writer.wait()


def test_a_file_that_is_one_huge_line_is_refused_without_holding_it(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 100_000_000)  # bytes, all NUL, in a file that takes no room
    tracemalloc.start()
    try:
        assert "disk.img:1: the line is longer than 1,000,000 characters" in refusal(path)[0]
        assert tracemalloc.get_traced_memory()[1] < 20e6  # bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("load", [load_probe_texts, load_questions])
def test_a_file_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, load: Callable[[Path], tuple[object, ...]]
) -> None:
    with pytest.raises(UsageError, match=r"none\.jsonl: can't be read \(No such file"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match=r"can't be read \(Is a directory"):
        load(tmp_path)


def test_lines_come_with_their_number_and_without_the_space_around_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff  ein \r\n\nto".encode())
    assert list(read_lines(path, skip_empty=True)) == [Line(f"{path}:1", 1, "ein"), Line(f"{path}:3", 3, "to")]


def test_a_file_of_our_own_may_be_of_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_CHARACTERS", 3)
    (tmp_path / "a.txt").write_text("lang linje\n")
    assert [line.text for line in read_lines(tmp_path / "a.txt", limited=False)] == ["lang linje"]
    with pytest.raises(UsageError, match="longer than 3 characters"):
        list(read_lines(tmp_path / "a.txt"))


def test_the_advice_of_the_caller_is_the_hint(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[]")
    with pytest.raises(UsageError) as caught:
        list(read_objects(tmp_path / "a.jsonl", "Do this."))
    assert caught.value.hint == "Do this."


def test_a_default_stands_in_for_what_is_left_out_and_not_for_what_is_wrong() -> None:
    line = Line("a:1", 1, "{}")
    assert string(line, {}, "kind", "own") == string(line, {"kind": None}, "kind", "own") == "own"
    for wrong in (7, "", []):
        with pytest.raises(UsageError, match='a:1: "kind" is not a string'):
            string(line, {"kind": wrong}, "kind", "own")
