"""Reads the rows of a .jsonl or .parquet file, whichever names its columns have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from patcher.errors import MissingRequirement, UsageError
from patcher.verify.texts.lines import Line, read_objects, string


def read_rows(
    path: Path, advice: str, columns: Sequence[str] | None = None
) -> Iterator[tuple[Line, Mapping[str, object]]]:
    """Each row with its line, one at a time. `advice` is the hint of the error for one that can't be read.

    Of a .parquet file only the `columns` are read, if they are given. Raises UsageError, naming file and line, and
    MissingRequirement for a .parquet file without pyarrow.
    """
    if path.suffix.lower() != ".parquet":
        yield from read_objects(path, advice, skip_empty=True, limited=False)
        return
    require_pyarrow(f"Reading {path} needs")
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for record in batch.to_pylist():
                    number += 1
                    yield Line(f"{path}:{number}", number, ""), record
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"{path}: can't be read ({str(error).splitlines()[0]}).", advice) from error
    if not number:
        raise UsageError(f"{path}: is empty.", "Add at least one row.")


def require_pyarrow(why: str) -> None:
    """Raise MissingRequirement if pyarrow is not installed; `why` says what needs it."""
    if find_spec("pyarrow") is None:
        raise MissingRequirement(f"{why} pyarrow, which is not installed.", "pip install pyarrow")


def read_texts(
    path: Path, advice: str, names: Sequence[str] = ("id", "_id"), *, allow_empty: bool = False
) -> dict[str, str]:
    """The texts of a file by id, which is under the first of the `names`; a title stands before its text.

    `allow_empty` takes an empty text without a title, too. Raises what `read_rows` does.
    """
    found: dict[str, str] = {}
    for line, record in read_rows(path, advice):
        key = identifier(line, record, names)
        if key in found:
            raise UsageError(f"{line.place}: the id {key!r} appears twice in this file.", "Give each text its own id.")
        filled = {name: value for name, value in record.items() if not _is_empty(value)}
        title = string(line, filled, "title", "")
        is_empty = "text" in record and "text" not in filled and (allow_empty or title)
        found[key] = f"{title} {'' if is_empty else string(line, record, 'text')}".strip()
    return found


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def identifier(line: Line, record: Mapping[str, object], names: Sequence[str]) -> str:
    """The id under the first of these names that the row has."""
    name = next((name for name in names if record.get(name) is not None), names[0])
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise UsageError(f'{line.place}: "{name}" is missing or is not an id.', "Give each row an id: text or number.")
    return str(value)
