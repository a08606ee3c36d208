"""Rows of .jsonl and .parquet files by the names that their columns have."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.errors import MissingRequirement, UsageError
from patcher.verify.texts import rows
from patcher.verify.texts.rows import read_rows, read_texts


def test_a_parquet_file_that_is_none_or_empty_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pytest.importorskip("pyarrow").table
    from pyarrow.parquet import write_table

    path = tmp_path / "a.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(UsageError, match=r"a\.parquet: can't be read"):
        list(read_rows(path, "Do this."))
    write_table(table({"id": [], "text": []}), path)
    with pytest.raises(UsageError, match="is empty"):
        list(read_rows(path, "Do this."))
    write_table(table({"id": ["a", "b"], "text": ["x", None]}), path)
    with pytest.raises(UsageError, match=r'a\.parquet:2: "text" is not a string'):
        read_texts(path, "Do this.")
    monkeypatch.setattr(rows, "find_spec", lambda name: None)
    with pytest.raises(MissingRequirement, match="pyarrow, which is not installed"):
        list(read_rows(path, "Do this."))


def test_an_empty_text_needs_a_title(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"_id": 1, "title": "Kari", "text": ""}\n')
    assert read_texts(path, "") == {"1": "Kari"}
    path.write_text('{"_id": 1, "text": ""}\n')
    with pytest.raises(UsageError, match=':1: "text" is not a string, or is empty'):
        read_texts(path, "")
    assert read_texts(path, "", allow_empty=True) == {"1": ""}
