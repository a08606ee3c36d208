"""Reads the texts to encode, one at a time: .jsonl, .parquet, or one text per line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from patcher.errors import UsageError
from patcher.verify.texts.lines import Line, read_lines, string
from patcher.verify.texts.rows import read_rows

_ADVICE = 'Write each line as {"id": "...", "text": "..."}, or name the file .txt for one text per line.'


@dataclass(frozen=True)
class Columns:
    """What the id and the text are called in JSON and parquet."""

    id: str = "id"
    text: str = "text"


def read_texts(path: Path, columns: Columns = Columns()) -> Iterator[tuple[str, str]]:
    """The id and the text of each row of a .jsonl or .parquet file; of other files each line, its number the id.

    Raises UsageError, naming file and line, for files that can't be read or are empty, and for the first bad row.
    """
    suffix, names = path.suffix.lower(), (columns.id, columns.text)
    if suffix in {".jsonl", ".ndjson", ".json", ".parquet"}:
        advice = f"Pass a parquet file with columns {' and '.join(names)}." if suffix == ".parquet" else _ADVICE
        for line, record in read_rows(path, advice, names):
            yield _id(line, record, columns.id), string(line, record, columns.text)
    else:
        for line in read_lines(path, skip_empty=True, limited=False):
            yield str(line.number), line.text


def count_texts(path: Path, columns: Columns = Columns()) -> int:
    """How many texts a file has. Reads it to its end, in constant memory but for 8 bytes for each text.

    Raises UsageError as `read_texts` does, and for an id that stands there twice.
    """
    hashes = np.fromiter((hash(key) for key, _ in read_texts(path, columns)), dtype=np.int64)
    hashes.sort()
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if repeated:
        ids = Counter(key for key, _ in read_texts(path, columns) if hash(key) in repeated)
        for key in (key for key, number in ids.items() if number > 1):
            raise UsageError(f"{path}: the id {key!r} appears twice.", "Give each text its own id.")
    return len(hashes)


def _id(line: Line, record: Mapping[str, Any], column: str) -> str:
    value = record.get(column)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).isprintable():
        value = ""
    if not str(value).strip():
        why = f'{line.place}: "{column}" is missing or is not an id.'
        raise UsageError(why, "Give each text an id: a number, or text without tabs and line breaks.")
    return str(value)
