"""The knowledge base of the corpus: reads the fact tables and the sentence templates, and renders them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["nb", "nn"]
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Fact:
    """One row of a table. `forms` maps a column to its written form; `x_nn` is the Nynorsk of `x`."""

    table: str
    forms: Mapping[str, str]

    @property
    def key(self) -> str:
        """A name that is unique among all facts."""
        return f"{self.table}/{next(iter(self.forms.values()))}"

    def names(self) -> tuple[str, ...]:
        """Every form that names the entity, without its article, in both languages."""
        columns = ("name", "name_nn", "sg", "sg_nn", "def", "def_nn", "title")
        found = [self.forms[column] for column in columns if column in self.forms]
        bare = [
            word.split(" ", 1)[1] if word.split(" ", 1)[0] in {"en", "ei", "et", "ein", "eit"} else word
            for word in found
        ]
        return tuple(dict.fromkeys(bare))


@dataclass(frozen=True)
class Relation:
    """What can be said and asked about the rows of one table in one respect."""

    table: str
    name: str
    statements: Mapping[Language, tuple[str, ...]]
    questions: Mapping[Language, tuple[str, ...]]


class _Forms(dict[str, str]):
    """Template values: `{name}` in the language asked for, `{Name}` with a capital first letter."""

    def __init__(self, fact: Fact, language: Language) -> None:
        super().__init__(fact.forms)
        self.language = language

    def __getitem__(self, column: str) -> str:
        if column[0].isupper():
            text = self[column[0].lower() + column[1:]]
            return text[0].upper() + text[1:]
        if self.language == "nn" and f"{column}_nn" in self:
            return super().__getitem__(f"{column}_nn")
        return super().__getitem__(column)


def render(template: str, fact: Fact, language: Language) -> str:
    """Fill one template with one fact."""
    return template.format_map(_Forms(fact, language)).replace("..", ".")


def load_facts() -> tuple[Fact, ...]:
    """All rows of all tables, in the order of the files. A cell `=` repeats the cell before it."""
    facts: list[Fact] = []
    for path in sorted((HERE / "facts").glob("*.txt")):
        header, *rows = path.read_text(encoding="utf-8").splitlines()
        columns = header.split(" | ")
        for row in rows:
            cells: list[str] = []
            for cell in row.split(" | "):
                cells.append(cells[-1] if cell == "=" else cell)
            facts.append(Fact(path.stem, dict(zip(columns, cells, strict=True))))
    return tuple(facts)


def load_relations() -> tuple[Relation, ...]:
    """All relations of templates.txt: `# table relation`, then sb/sn statements and qb/qn questions."""
    relations: list[Relation] = []
    lines: dict[str, list[str]] = {}
    for line in (HERE / "templates.txt").read_text(encoding="utf-8").splitlines():
        kind, _, text = line.partition(" ")
        if kind == "#":
            lines = {"sb": [], "sn": [], "qb": [], "qn": []}
            table, name = text.split()
            relations.append(_relation(table, name, lines))
        else:
            lines[kind].append(text)
            relations[-1] = _relation(relations[-1].table, relations[-1].name, lines)
    return tuple(relations)


def _relation(table: str, name: str, lines: Mapping[str, Sequence[str]]) -> Relation:
    return Relation(
        table,
        name,
        {"nb": tuple(lines["sb"]), "nn": tuple(lines["sn"])},
        {"nb": tuple(lines["qb"]), "nn": tuple(lines["qn"])},
    )


def dice(*parts: object) -> random.Random:
    """A random generator whose state depends on the given parts alone."""
    return random.Random("/".join(str(part) for part in parts))
