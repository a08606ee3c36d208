"""The corpus is the same on every run, and what is tested on is not trained on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.verify.texts import load_all_questions
from tests.snapshots.corpus import passages, prose
from tests.snapshots.corpus.facts import load_facts, load_relations, render
from tests.snapshots.corpus.pairs import main, mentions, normalised, pairs, split_of
from tests.snapshots.corpus.pairs import test_entities as held_out_names

ROOT = Path(__file__).parents[2]
FINGERPRINT = """
import hashlib, json
from tests.snapshots.corpus import passages
from tests.snapshots.corpus.pairs import pairs
made = [passages(), list(pairs("train")), list(pairs("test"))]
print(hashlib.sha256(json.dumps(made).encode()).hexdigest())
"""


def test_the_corpus_does_not_depend_on_the_hash_seed() -> None:
    seen = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        seen.add(done.stdout)
    made = [passages(), list(pairs("train")), list(pairs("test"))]
    seen.add(hashlib.sha256(json.dumps(made).encode()).hexdigest() + "\n")
    assert len(seen) == 1


def test_the_corpus_is_large_enough_and_repeats_little() -> None:
    found = passages()
    assert 1_000_000 < sum(len(text.encode()) for text in found) < 2_000_000
    assert len(set(found)) > 0.97 * len(found)
    assert not any(re.search(r"[{}|]|^\s|\s$|  |\.\.", text) for text in found)


def test_every_prose_line_is_in_the_corpus() -> None:
    found = set(passages())
    for language in ("nb", "nn", "se"):
        assert set(prose(language)) <= found


def test_every_template_can_be_filled_from_every_row_of_its_table() -> None:
    facts = load_facts()
    assert {relation.table for relation in load_relations()} == {fact.table for fact in facts}
    for relation in load_relations():
        for fact in facts:
            if fact.table == relation.table:
                for templates in (relation.statements, relation.questions):
                    for language, texts in templates.items():
                        assert texts, (relation.table, relation.name, language)
                        for text in texts:
                            assert render(text, fact, language)[0].isupper()


def test_a_fact_is_named_once() -> None:
    keys = [fact.key for fact in load_facts()]
    assert len(set(keys)) == len(keys)


def test_pairs_are_many_and_no_question_occurs_twice() -> None:
    train, test = list(pairs("train")), list(pairs("test"))
    assert 4000 <= len(train) <= 6500
    assert 250 <= len(test) <= 450
    queries = [normalised(pair["query"]) for pair in (*train, *test)]
    assert len(set(queries)) == len(queries)
    for pair in (*train, *test):
        assert pair["positive"] != pair["negative"]
        assert len(pair["positive"].split()) >= 4


def test_no_training_question_mentions_an_entity_of_the_test_split() -> None:
    names = held_out_names()
    assert len(names) > 30
    assert not [pair["query"] for pair in pairs("train") if mentions(pair["query"], names)]
    unmentioned = [pair["query"] for pair in pairs("test") if not mentions(pair["query"], names)]
    assert not unmentioned


def test_a_held_out_name_is_found_as_whole_words_only() -> None:
    names = frozenset({"ål", "mo i rana"})
    assert mentions("Hva spiser ål?", names)
    assert mentions("Hvor ligger Mo i Rana?", names)
    assert not mentions("Hvor ligger Ålesund?", names)


def test_both_splits_have_facts_from_every_large_table() -> None:
    for table in ("animals", "countries", "jobs", "towns"):
        assert {split_of(fact) for fact in load_facts() if fact.table == table} == {"train", "test"}


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_evaluation_question_or_its_answer_is_in_the_pairs(split: str) -> None:
    items = load_all_questions()
    bundled = {normalised(text) for item in items for text in (item.query, item.positive)}
    for pair in pairs(split):  # type: ignore[arg-type]
        assert normalised(pair["query"]) not in bundled
        assert normalised(pair["positive"]) not in bundled


def test_no_evaluation_question_or_its_answer_is_in_the_corpus() -> None:
    found = "\n".join(f" {normalised(text)} " for text in passages())
    for item in load_all_questions():
        assert f" {normalised(item.query)} " not in found
        assert f" {normalised(item.positive)} " not in found


def test_the_command_writes_one_split_as_json_lines(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    assert main([str(out), "--split", "test"]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows == list(pairs("test"))
