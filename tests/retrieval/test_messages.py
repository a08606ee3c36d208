"""Names that parent and child agree on."""

from __future__ import annotations

from patcher.retrieval.messages import chunk_name, dimension_terms


def test_a_padded_vocabulary_has_a_term_for_each_dimension() -> None:
    assert dimension_terms(("a", "b"), 4) == ("a", "b", "[2]", "[3]")
    assert dimension_terms(("a", "b", "c"), 2) == ("a", "b")


def test_files_sort_in_the_order_of_their_windows() -> None:
    names = [chunk_name("document", number) for number in (0, 9, 10, 123456)]
    assert names == sorted(names)
