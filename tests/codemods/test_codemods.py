"""The codemods by their names, which a user gives and a plan records."""

from __future__ import annotations

import pytest

from patcher.codemods import CODEMODS, NotNeeded
from patcher.constants import REPAIRS
from patcher.planning.options import Options
from tests.codemods.tools import run


def test_the_repairs_are_codemods_and_checkpointing_is_chosen_by_itself() -> None:
    assert set(CODEMODS) - set(REPAIRS) == {"checkpointing"}


def test_an_earlier_name_of_a_codemod_still_chooses_it() -> None:
    assert set(Options.choose(["rotary_tables", "tied_weights"]).names) == {"computed_buffers", "tied_weights"}


@pytest.mark.parametrize("name", CODEMODS)
def test_a_file_in_which_there_is_nothing_to_do_stays(name: str) -> None:
    assert isinstance(run(name, "x = 1\n"), NotNeeded)
