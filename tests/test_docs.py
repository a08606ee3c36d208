"""README and docs: links lead somewhere, the README stays short, and its commands and options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from patcher.cli.main import app
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not target.startswith(("https://", "mailto:")):
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def test_the_readme_is_short_and_shows_the_two_commands_of_a_fresh_machine_first() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.encode()) <= 9_000
    assert text.index("make demo") < text.index("make test") < text.index("pip install")


def commands(page: Path) -> list[list[str]]:
    """The words of each `patcher` command in a page's blocks of code."""
    blocks = re.findall(r"```(?:bash|sh)?\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("patcher ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_of_a_page_has_the_options_that_it_shows(page: Path) -> None:
    from typer.main import get_command

    known = get_command(app).commands  # type: ignore[attr-defined]
    for words in commands(page):
        options = {name for one in known[words[0]].params for name in (*one.opts, *one.secondary_opts)}
        shown = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
        assert shown <= {*options, "--help"}, words
