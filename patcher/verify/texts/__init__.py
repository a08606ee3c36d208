"""The bundled Norwegian texts: probe texts for measuring logits, and questions for measuring rankings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path


@dataclass(frozen=True)
class ProbeText:
    """One text that both models read. `language` is nb, nn or se, or "und" where a user's file has none."""

    id: str
    language: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question, the one passage that answers it, and near misses that do not."""

    id: str
    language: str
    query: str
    positive: str
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class _Line:
    """One non-empty line of a file, with the place that an error names."""

    place: str
    number: int
    text: str


def load_probe_texts(path: Path | None = None) -> tuple[ProbeText, ...]:
    """Read probe texts: the bundled ones, or a user's file.

    A `.jsonl` file holds one object with "text" per line ("id" and "language" may be left out); every
    other file holds one text per line. A byte order mark and CRLF line ends are accepted.

    Raises ValueError, naming file and line, for a file that cannot be read, is empty, or has a bad line.
    """
    lines = _read_lines(path, "probe.jsonl")
    if path is not None and path.suffix.lower() != ".jsonl":
        return tuple(ProbeText(f"line-{line.number}", "und", line.text) for line in lines)
    found = []
    for line, record in _objects(lines, 'give each line as {"text": "..."}, or name the file .txt'):
        found.append(
            ProbeText(
                _string(line, record, "id", f"line-{line.number}"),
                _string(line, record, "language", "und"),
                _string(line, record, "text"),
            )
        )
    return tuple(found)


def load_questions(path: Path | None = None) -> tuple[Question, ...]:
    """Read evaluation questions: the bundled ones, or a user's `.jsonl` file of the same form.

    Raises ValueError, naming file and line, for a file that cannot be read, is empty, or has a bad line.
    """
    lines = _read_lines(path, "questions.jsonl")
    found = []
    advice = 'give each line as {"query": "...", "positive": "...", "negatives": ["..."]}'
    for line, record in _objects(lines, advice):
        negatives = record.get("negatives")
        if not isinstance(negatives, list) or not negatives or not all(_is_text(one) for one in negatives):
            raise ValueError(f'{line.place}: "negatives" is not a list of texts.\n{advice[0].upper()}{advice[1:]}.')
        found.append(
            Question(
                _string(line, record, "id", f"line-{line.number}"),
                _string(line, record, "language", "und"),
                _string(line, record, "query"),
                _string(line, record, "positive"),
                tuple(negatives),
            )
        )
    return tuple(found)


def _read_lines(path: Path | None, bundled: str) -> list[_Line]:
    source = resources.files(__name__).joinpath(bundled) if path is None else path
    name = bundled if path is None else str(path)
    try:
        # utf-8-sig drops a byte order mark; splitlines() would also split at U+2028 inside a text.
        raw = source.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(
            f"{name}: cannot be read ({error.strerror or error}).\nGive the path of a readable text file."
        ) from error
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{name}:{number}: is not UTF-8 text.\nSave the file as UTF-8 and try again.") from error
    texts = [text.strip() for text in raw.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    lines = [_Line(f"{name}:{number}", number, text) for number, text in enumerate(texts, 1) if text]
    if not lines:
        raise ValueError(f"{name}:1: the file holds no text.\nWrite one text per line.")
    return lines


def _objects(lines: list[_Line], advice: str) -> Iterator[tuple[_Line, Mapping[str, object]]]:
    hint = f"{advice[0].upper()}{advice[1:]}."
    for line in lines:
        try:
            record = json.loads(line.text)
        except ValueError as error:
            raise ValueError(f"{line.place}: is not JSON ({error}).\n{hint}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{line.place}: is a JSON {type(record).__name__}, not an object.\n{hint}")
        yield line, record


def _string(line: _Line, record: Mapping[str, object], key: str, default: str | None = None) -> str:
    value = record.get(key, default)
    if isinstance(value, str) and value.strip():
        return value
    problem = f'"{key}" is missing' if key not in record else f'"{key}" is not a text, or is empty'
    raise ValueError(f'{line.place}: {problem}.\nGive every line a "{key}" that is a non-empty string.')


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
