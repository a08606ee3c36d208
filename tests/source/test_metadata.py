"""The metadata of a card is read in bounded time and memory."""

from __future__ import annotations

import time

import pytest

from patcher.source.metadata import read_metadata, split_card

LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    "front",
    [LAUGHS, "a: " + "[" * 60_000, "\n" * 500_000, "a: " + "x" * 9_000_000, "a: \x00", "- " * 20_000, "? " * 20_000],
)
def test_metadata_made_to_exhaust_its_reader_is_left_alone(front: str) -> None:
    begun = time.process_time()
    assert read_metadata(f"---\nlicense: mit\n{front}\n---\n") in ({}, {"license": "mit"})
    assert time.process_time() - begun < 5


def test_metadata_of_usual_cards_is_read() -> None:
    assert read_metadata("\ufeff---\r\nlicense: mit\r\n\r\ntags: [a]\r\n---\r\n# x".lstrip("\ufeff")) == {
        "license": "mit",
        "tags": ["a"],
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("card", "yaml", "rest"),
    [
        ("---\na: 1\nb: 2\n---\n# x\n---\n", "a: 1\nb: 2\n", "# x\n---\n"),
        ("\n--- \na: 1\n---", "a: 1\n", ""),
        ("---\n---\n# x\n---\n", "", "# x\n---\n"),
        ("---\na: 1\n", "", "---\na: 1\n"),
        ("# x\n---\na: 1\n---\n", "", "# x\n---\na: 1\n---\n"),
        ("----\na: 1\n---\n", "", "----\na: 1\n---\n"),
    ],
)
def test_a_card_is_split_at_the_end_of_its_metadata(card: str, yaml: str, rest: str, end: str) -> None:
    found = split_card(card.replace("\n", end))
    assert tuple(part.replace(end, "\n") for part in found) == (yaml, rest)
