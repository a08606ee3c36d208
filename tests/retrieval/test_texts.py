"""Texts come from JSON lines, parquet or plain lines; what is not a text is named with its place."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from patcher.errors import MissingRequirement, UsageError
from patcher.retrieval import texts
from patcher.retrieval.texts import count_texts, read_texts
from patcher.verify.texts import rows

ROWS = [("a", "Kari."), ("7", "Ola på øya.")]


def write(path: Path) -> Path:
    if path.suffix == ".parquet":
        table = pyarrow.table({"other": [1, 2], "text": [text for _, text in ROWS], "id": [key for key, _ in ROWS]})
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".jsonl":
        path.write_text('{"id": "a", "text": "Kari."}\n\n{"id": 7, "text": "Ola på øya.", "title": 1}\n')
    else:
        path.write_text("".join(f"{text}\n" for _, text in ROWS))
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_ids_and_texts_are_read_from_either_format(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    assert list(read_texts(path)) == ROWS and count_texts(path) == 2


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_columns_may_have_other_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "t.jsonl":
        path.write_text('{"_id": 1, "passage": "Kari.", "text": 2}\n')
    else:
        pyarrow.parquet.write_table(pyarrow.table({"_id": [1], "passage": ["Kari."]}), path)
    columns = texts.Columns("_id", "passage")
    assert list(read_texts(path, columns)) == [("1", "Kari.")] and count_texts(path, columns) == 1
    with pytest.raises(UsageError, match="id"):
        count_texts(path)


def test_plain_lines_have_their_numbers_as_ids(tmp_path: Path) -> None:
    assert list(read_texts(write(tmp_path / "t.txt"))) == [("1", "Kari."), ("2", "Ola på øya.")]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ('{"text": "x"}', r't\.jsonl:1: "id" is missing'),
        ('{"id": true, "text": "x"}', '"id" is missing or is not an id'),
        ('{"id": "a\\tb", "text": "x"}', '"id" is missing or is not an id'),
        ('{"id": "a", "text": " "}', '"text" is not a string'),
        ('{"id": "a", "text": "x"}\n[]', r"t\.jsonl:2: is a JSON list"),
        (
            '{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n{"id": "a", "text": "z"}',
            "the id 'a' appears twice",
        ),
        ('{"id": "1", "text": "x"}\n{"id": 1, "text": "y"}', "the id '1' appears twice"),
        ("", "is empty"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, lines: str, why: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(lines)
    with pytest.raises(UsageError, match=why):
        count_texts(path)


def test_ids_whose_hashes_collide_are_not_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "hash", lambda _: 1, raising=False)
    assert count_texts(write(tmp_path / "t.jsonl")) == 2


def test_parquet_that_can_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"t\.parquet: can't be read"):
        count_texts(path)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"]}), path)
    with pytest.raises(UsageError, match=r"t\.parquet"):
        count_texts(path)
    monkeypatch.setattr(rows, "find_spec", lambda _: None)
    with pytest.raises(MissingRequirement, match=r"pyarrow, which is not installed\.\npip install pyarrow"):
        count_texts(path)
