"""Question and passage pairs with near-miss negatives, made from the fact tables, for training retrieval."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict

from patcher.verify.texts import load_questions
from tests.snapshots.corpus.facts import Fact, Language, Relation, dice, load_facts, load_relations, render

Split = Literal["train", "test"]
TEST_SHARE = 0.065
# These words name an entity and also occur in the questions and answers about many others.
ALWAYS_TRAIN = frozenset(
    {"Norge", "Oslo", "sola", "vann", "jern", "gull", "en and", "en mus", "en or", "tunga", "huden", "øret",
     "en vekt", "en tang", "en sil", "Valle", "Dalen", "Gol", "Lom", "Gift", "Kransen", "hopp", "turn"}
)  # fmt: skip


class Pair(TypedDict):
    """A question, the passage that answers it, and one that looks alike and does not."""

    query: str
    positive: str
    negative: str


def normalised(text: str) -> str:
    """Lower case, letters and digits only, single spaces: for comparing sentences."""
    return " ".join(re.findall(r"\w+", text.lower()))


def split_of(fact: Fact) -> Split:
    """The split that a fact belongs to; it depends on the fact alone."""
    first = next(iter(fact.forms.values()))
    if first in ALWAYS_TRAIN:
        return "train"
    return "test" if dice("split", fact.key).random() < TEST_SHARE else "train"


def test_entities() -> frozenset[str]:
    """Normalised names of all entities of the test split."""
    return frozenset(normalised(name) for fact in load_facts() if split_of(fact) == "test" for name in fact.names())


def mentions(text: str, names: frozenset[str]) -> bool:
    """Whether one of the normalised names stands in the text as whole words."""
    words = normalised(text).split()
    longest = max(len(name.split()) for name in names)
    return any(
        " ".join(words[start : start + length]) in names
        for length in range(1, longest + 1)
        for start in range(len(words) - length + 1)
    )


def pairs(split: Split) -> Iterator[Pair]:
    """Yield the pairs of one split, shuffled, always in the same order.

    No question of the train split mentions an entity of the test split, and nothing of the bundled
    evaluation questions occurs in either.
    """
    bundled = load_questions()
    forbidden = {normalised(text) for item in bundled for text in (item.query, item.positive)}
    held_out = test_entities()
    found: dict[str, Pair] = {}
    by_table = _by_table(load_facts(), split)
    relations: dict[str, list[Relation]] = defaultdict(list)
    for relation in load_relations():
        relations[relation.table].append(relation)
    for table, facts in by_table.items():
        for fact in facts:
            for relation in relations[table]:
                for pair in _pairs_of(fact, relation, relations[table], facts):
                    query = normalised(pair["query"])
                    if query in forbidden or normalised(pair["positive"]) in forbidden:
                        continue
                    if split == "train" and mentions(pair["query"], held_out):
                        continue
                    # Two columns can ask the same thing; two answers to one question would mislead.
                    found.setdefault(query, pair)
    ordered = list(found.values())
    dice("order", split).shuffle(ordered)
    yield from ordered


def _by_table(facts: Sequence[Fact], split: Split) -> dict[str, list[Fact]]:
    tables: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if split_of(fact) == split:
            tables[fact.table].append(fact)
    return tables


def _pairs_of(fact: Fact, relation: Relation, relations: Sequence[Relation], facts: Sequence[Fact]) -> Iterator[Pair]:
    chance = dice("pairs", fact.key, relation.name)
    questions: list[tuple[Language, str]] = [("nb", text) for text in relation.questions["nb"]]
    if chance.random() < 0.6:
        questions.append(("nn", chance.choice(relation.questions["nn"])))
    for language, template in questions:
        positive = _passage(fact, relation, relations, language, chance.random())
        negative = _near_miss(fact, relation, relations, facts, language, chance.random())
        if negative is not None and negative != positive:
            yield {"query": render(template, fact, language), "positive": positive, "negative": negative}


def _passage(fact: Fact, relation: Relation, relations: Sequence[Relation], language: Language, seed: float) -> str:
    """A passage of one to three sentences that says what the relation asks for."""
    chance = dice("passage", fact.key, relation.name, seed)
    sentences = [render(chance.choice(relation.statements[language]), fact, language)]
    others = [other for other in relations if other.name != relation.name]
    chance.shuffle(others)
    for other in others[:2]:
        if len(" ".join(sentences).split()) > 13:
            break
        sentence = render(chance.choice(other.statements[language]), fact, language)
        sentences.insert(chance.randrange(len(sentences) + 1), sentence)
    return " ".join(sentences)


def _near_miss(
    fact: Fact,
    relation: Relation,
    relations: Sequence[Relation],
    facts: Sequence[Fact],
    language: Language,
    seed: float,
) -> str | None:
    """The same relation of another entity, or another relation of the same one, without the answer."""
    chance = dice("negative", fact.key, relation.name, seed)
    others = [other for other in facts if other.key != fact.key]
    silent = [other for other in relations if other.name != relation.name and not _answers(other, relation)]
    if silent and (chance.random() < 0.35 or not others):
        told = chance.sample(silent, min(2, len(silent)))
        return " ".join(render(chance.choice(one.statements[language]), fact, language) for one in told)
    if not others:
        return None
    return _passage(chance.choice(others), relation, relations, language, seed)


def _answers(told: Relation, asked: Relation) -> bool:
    """Whether a statement of the one relation may hold the column that the other asks for."""
    column = "{" + asked.name
    texts: Mapping[Language, tuple[str, ...]] = told.statements
    return any(column in text.lower() for language in texts.values() for text in language)


def main(argv: Sequence[str] | None = None) -> int:
    """Write one split as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=("train", "test"), default="train")
    options = parser.parse_args(argv)
    lines = [json.dumps(pair, ensure_ascii=False) for pair in pairs(options.split)]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} pairs", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
