"""Norwegian text for the miniature model: hand-written prose, and sentences made from a table of facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.snapshots.corpus.facts import HERE, Fact, Language, Relation, dice, load_facts, load_relations, render

PARAGRAPHS: Mapping[Language, int] = {"nb": 4, "nn": 1}
PROSE_REPEATS: Mapping[str, int] = {"nb": 1, "nn": 1, "se": 6}


def passages() -> list[str]:
    """All passages, shuffled, always in the same order. One passage has one to six sentences."""
    found = [*_prose(), *_sentences(), *_dialogues(), *_paragraphs(), *_comparisons()]
    found.extend(["\n".join(part) for part in _prose_pages()])
    dice("passages").shuffle(found)
    return found


def prose(language: str) -> tuple[str, ...]:
    """The hand-written lines of one language: nb, nn or se."""
    lines = (HERE / f"prose.{language}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line.strip())


def _prose() -> Iterator[str]:
    # Northern Sámi would drown in a corpus of this size if its few lines came once.
    for language, times in PROSE_REPEATS.items():
        for _ in range(times):
            yield from prose(language)


def _prose_pages() -> Iterator[Sequence[str]]:
    """Prose lines again, several at a time, so that long inputs occur."""
    for language in PROSE_REPEATS:
        lines = list(prose(language))
        dice("pages", language).shuffle(lines)
        for start in range(0, len(lines), 5):
            yield lines[start : start + 5]


def _sentences() -> Iterator[str]:
    for fact, relation in _told():
        chance = dice("sentences", fact.key, relation.name)
        for language, most in (("nb", 3), ("nn", 1)):
            templates = relation.statements[language]  # type: ignore[index]
            for template in chance.sample(templates, min(most, len(templates))):
                yield render(template, fact, language)  # type: ignore[arg-type]


def _dialogues() -> Iterator[str]:
    for fact, relation in _told():
        chance = dice("dialogues", fact.key, relation.name)
        language: Language = "nb" if chance.random() < 0.75 else "nn"
        question = render(chance.choice(relation.questions[language]), fact, language)
        answer = render(chance.choice(relation.statements[language]), fact, language)
        if chance.random() < 0.6:
            yield f"{question} {answer}"


def _paragraphs() -> Iterator[str]:
    relations = _by_table()
    for fact in load_facts():
        for language, count in PARAGRAPHS.items():
            for number in range(count):
                chance = dice("paragraphs", fact.key, language, number)
                told = list(relations[fact.table])
                chance.shuffle(told)
                sentences = [render(chance.choice(one.statements[language]), fact, language) for one in told]
                if number % 2 or len(sentences) < 3:
                    sentences.insert(chance.randrange(len(sentences) + 1), chance.choice(prose(language)))
                yield " ".join(sentences)


def _comparisons() -> Iterator[str]:
    """Two facts of one table side by side: the same relation, another entity."""
    tables: dict[str, list[Fact]] = defaultdict(list)
    for fact in load_facts():
        tables[fact.table].append(fact)
    for fact, relation in _told():
        chance = dice("comparisons", fact.key, relation.name)
        other = chance.choice(tables[fact.table])
        language: Language = "nb" if chance.random() < 0.8 else "nn"
        if other.key != fact.key and chance.random() < 0.6:
            first, second = (
                render(chance.choice(relation.statements[language]), one, language) for one in (fact, other)
            )
            yield f"{first} {second}"


def _told() -> Iterator[tuple[Fact, Relation]]:
    relations = _by_table()
    for fact in load_facts():
        for relation in relations[fact.table]:
            yield fact, relation


def _by_table() -> dict[str, list[Relation]]:
    tables: dict[str, list[Relation]] = defaultdict(list)
    for relation in load_relations():
        tables[relation.table].append(relation)
    return tables
