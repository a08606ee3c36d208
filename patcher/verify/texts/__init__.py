"""The bundled Norwegian texts: probe texts for measuring logits, and questions for measuring rankings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from patcher.codec import from_json
from patcher.errors import UsageError, see
from patcher.verify.texts.lines import is_text, read_lines, read_objects, string

_PROBE_TEXTS = Path(__file__).with_name("probe.jsonl")
_QUESTIONS = Path(__file__).with_name("questions.jsonl")
_HARD = Path(__file__).with_name("hard_questions.jsonl")  # whose near misses share more words than the answer does


@dataclass(frozen=True, slots=True)
class ProbeText:
    """One text that both models read.

    `language` is nb, nn or se, or "und" where a user's file has none; `kind` is word, question, sentence, passage or
    long (more tokens than NorBERT4's local window of 256), or "own"; `source` and `licence` say where it is from.
    """

    id: str
    language: str
    text: str
    kind: str
    source: str
    licence: str


@dataclass(frozen=True)
class Question:
    """A question, the one passage that answers it, and near misses that do not."""

    id: str
    language: str
    query: str
    positive: str
    negatives: tuple[str, ...]

    @property
    def right(self) -> str:
        """The id of the passage that answers it. It sorts behind those of the near misses: a tie never helps it."""
        return f"{self.id}/right"


def load_probe_texts(own: Path | None = None) -> tuple[ProbeText, ...]:
    """The bundled probe texts, then those of a user's file.

    A `.jsonl`, `.ndjson` or `.json` file holds one object with a "text" per line, in which the other fields of
    ProbeText may be left out; every other file holds one text per line. The ids of a user's texts begin with "own:".

    Raises UsageError, naming file and line, for a file that can't be read or holds no text, and for its first bad line.
    """
    records = read_objects(_PROBE_TEXTS, "Restore the bundled file.")
    bundled = tuple(from_json(ProbeText, record) for _, record in records)
    return bundled if own is None else (*bundled, *_own_texts(own))


def _own_texts(path: Path) -> Iterator[ProbeText]:
    if path.suffix.lower() not in {".jsonl", ".ndjson", ".json"}:
        for line in read_lines(path):
            yield ProbeText(f"own:line-{line.number}", "und", line.text, "own", path.name, "unknown")
        return
    seen = set()
    for line, record in read_objects(path, 'Write each line as {"text": "..."}, or name the file .txt.'):
        given = record.get("id")
        named = {**record, "id": str(given)} if type(given) is int else record
        one = ProbeText(
            id=f"own:{string(line, named, 'id', f'line-{line.number}')}",
            language=string(line, record, "language", "und"),
            text=string(line, record, "text"),
            kind=string(line, record, "kind", "own"),
            source=string(line, record, "source", path.name),
            licence=string(line, record, "licence", "unknown"),
        )
        if one.id in seen:
            raise UsageError(
                f"{line.place}: the id {one.id.removeprefix('own:')!r} appears twice in this file.",
                "Give each text its own id, or leave the ids out.",
            )
        seen.add(one.id)
        yield one


def load_questions(path: Path | None = None) -> tuple[Question, ...]:
    """Read evaluation questions: the bundled ones, or a user's `.jsonl` file of the same form.

    Raises UsageError, naming file and line, for a file that can't be read or holds none, and for its first bad line.
    """
    advice = 'Write each line as {"query": "...", "positive": "...", "negatives": ["..."]}.' + see(
        "texts-and-judgements"
    )
    found = []
    for line, record in read_objects(path or _QUESTIONS, advice):
        negatives = record.get("negatives")
        if not isinstance(negatives, list) or not negatives or not all(is_text(one) for one in negatives):
            raise UsageError(f'{line.place}: "negatives" is not a list of texts.', advice)
        key, language = string(line, record, "id", f"line-{line.number}"), string(line, record, "language", "und")
        query, positive = string(line, record, "query"), string(line, record, "positive")
        found.append(Question(key, language, query, positive, tuple(negatives)))
    return tuple(found)


def passages(questions: Iterable[Question]) -> dict[str, str]:
    """The passages of all questions, near misses and right ones, by id."""
    found: dict[str, str] = {}
    for one in questions:
        found |= {f"{one.id}/near-{number}": text for number, text in enumerate(one.negatives, 1)}
        found[one.right] = one.positive
    return found


def load_hard_questions() -> tuple[Question, ...]:
    """Read the bundled questions that matching words does not answer, which `load_questions` leaves out."""
    return load_questions(_HARD)


def load_all_questions() -> tuple[Question, ...]:
    """Every bundled question, the hard ones last."""
    return (*load_questions(), *load_hard_questions())
