"""The one reader of text and JSON lines files: an error names file and line, what is wrong and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from patcher.errors import UsageError

MAX_CHARACTERS = 1_000_000  # of one line; the models read some hundred tokens of it
MAX_CHARACTERS_IN_ALL = 100_000_000  # of one file, whose texts are all held in memory
# With surrogateescape bytes that are not UTF-8 become lone surrogates, so that their line is known.
_NO_CHARACTER = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file without the space around it; `place` is what an error names."""

    place: str
    number: int
    text: str


def read_lines(path: Path, *, skip_empty: bool = False, limited: bool = True) -> Iterator[Line]:
    """The lines of a UTF-8 file, one at a time. A byte order mark, CRLF and a newline at the end are accepted.

    `skip_empty` accepts empty lines and leaves them out; `limited=False`, for files of our own, accepts any length.

    Raises UsageError at the first line that is empty, too long, not UTF-8 or holds NUL, having read no further;
    and for a file that can't be read, holds nothing or is too large.
    """
    number = characters = found = 0
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            while line := file.readline(MAX_CHARACTERS + 1 if limited else -1):
                number += 1
                characters += len(line)
                place = f"{path}:{number}"
                if limited and len(line.rstrip("\n")) > MAX_CHARACTERS:
                    raise UsageError(
                        f"{place}: the line is longer than {MAX_CHARACTERS:,} characters.",
                        "Split it into several lines, or leave it out.",
                    )
                if limited and characters > MAX_CHARACTERS_IN_ALL:
                    raise UsageError(
                        f"{place}: the file is longer than {MAX_CHARACTERS_IN_ALL:,} characters.",
                        "Use a sample of its lines.",
                    )
                if _NO_CHARACTER.search(line):
                    raise UsageError(f"{place}: is not UTF-8 text.", "Save the file as UTF-8 and try again.")
                _refuse_nul(place, line)
                if not line.strip():
                    if skip_empty:
                        continue
                    raise UsageError(f"{place}: the line is empty.", "Remove it, so that each line holds one text.")
                found += 1
                yield Line(place, number, line.strip())
    except OSError as error:
        raise UsageError(
            f"{path}: can't be read ({error.strerror or error}).", "Pass the path of a readable text file."
        ) from error
    if not found:
        raise UsageError(f"{path}: is empty.", "Write at least one line.")


def read_objects(
    path: Path, advice: str, *, skip_empty: bool = False, limited: bool = True
) -> Iterator[tuple[Line, Mapping[str, object]]]:
    """The JSON objects of a file, one per line. `advice` is the hint of the error for a line that is none.

    Raises UsageError as `read_lines` does, and for a line that is not a JSON object.
    """
    for line in read_lines(path, skip_empty=skip_empty, limited=limited):
        try:
            record = json.loads(line.text)
        except json.JSONDecodeError as error:  # its own text says "line 1", which is not the line of the file
            raise UsageError(f"{line.place}: is not JSON ({error.msg}, column {error.colno}).", advice) from error
        except (ValueError, RecursionError) as error:  # numbers too long and brackets too deep for Python
            raise UsageError(f"{line.place}: is not JSON that can be read.", advice) from error
        if not isinstance(record, dict):
            raise UsageError(f"{line.place}: is a JSON {type(record).__name__}, not an object.", advice)
        yield line, record


def string(line: Line, record: Mapping[str, object], key: str, default: str | None = None) -> str:
    """The text under `key`; `default` where it is left out or null. Raises UsageError for anything else."""
    value = record.get(key)
    if value is None and default is not None:
        return default
    if not is_text(value):
        problem = "is not a string, or is empty" if key in record else "is missing"
        otherwise = "" if default is None else ", or leave it out"
        raise UsageError(
            f'{line.place}: "{key}" {problem}.', f'Give every line a "{key}" that is a non-empty string{otherwise}.'
        )
    _refuse_nul(line.place, value)
    if _NO_CHARACTER.search(value):
        raise UsageError(f'{line.place}: "{key}" holds half a surrogate pair.', "Write the character itself, as UTF-8.")
    return value


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a string that holds more than space."""
    return isinstance(value, str) and bool(value.strip())


def _refuse_nul(place: str, text: str) -> None:
    if "\0" in text:
        raise UsageError(f"{place}: holds a NUL character.", "Remove it; a file in UTF-16 has to be saved as UTF-8.")
