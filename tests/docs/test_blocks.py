"""Every block of code in README and docs runs, or says why it can't; what the pages show is what was printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from patcher.documents.plots import pictures
from patcher.verify.report import load_report
from tests.conftest import ROOT
from tests.docs.reader import (
    FOLLOWED,
    PAGES,
    Block,
    Reader,
    blocks,
    lines,
    missing,
    outputs,
    reader_with_a_hub,
    written,
)

SERVING = ROOT / "docs" / "serving.md"  # tests/retrieval/test_serving_page.py runs its sections
_MEASURED = re.compile(r"\| [\d,]*\d(?:\.\d| %| [kMG]?B\b| m?s\b| times\b)")  # a cell that begins with a figure
_COMMAND = re.compile(r"`(?:(make) ([a-z0-9-]+)|(python -m) ([\w.]+)|(patcher) ([a-z]+))")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with reader_with_a_hub(tmp_path_factory.mktemp("reader")) as found:
        yield found


@pytest.mark.slow  # it patches, verifies, publishes and loads the miniature, which is what the pages promise
def test_the_blocks_run_in_order_and_print_what_the_pages_show(reader: Reader) -> None:
    for name in FOLLOWED:
        for block, printed in outputs(written(ROOT / name), reader):
            assert missing(block, printed) == [], f"{name} is stale: `make figures`\n{printed}"
    report = load_report(reader.folder / "norbert4-base-splade")
    assert report is not None
    for page in (ROOT / "README.md", ROOT / "docs" / "patching.md"):
        alts = {picture.png.rpartition("/")[2]: picture.alt for picture in pictures(report)}
        for alt, name in re.findall(r"!\[([^]]+)\]\([^)]*/(\w+\.png)\)", page.read_text("utf-8")):
            assert lines(alts.get(name, alt)).keys() == lines(alt).keys(), f"{page.name} is stale: `make figures`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_has_a_language_and_runs_or_says_why_not(page: Path) -> None:
    found = blocks(written(page))
    assert len(found) == len(re.findall(r"^```", written(page), re.MULTILINE)) / 2
    assert [one.code for one in found if one.language not in {"bash", "python", "text", "yaml"}] == []
    followed = page == SERVING or page.relative_to(ROOT).as_posix() in FOLLOWED
    assert [one.code for one in found if one.runs and not followed] == [], "not run, and no reason for it"
    assert [one.code for one in found if one.why_not is not None and len(one.why_not.split()) < 4] == []
    assert [one.code for one in shown(found) if one.code.strip()] == [], "an output of nothing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_section_with_figures_names_the_command_that_prints_them(page: Path) -> None:
    for section in re.split(r"^#+ ", page.read_text("utf-8"), flags=re.MULTILINE):
        cells = [line for line in section.splitlines() if line.startswith("|") and _MEASURED.search(line)]
        if cells or "![" in section:
            commands = [tuple(filter(None, one)) for one in _COMMAND.findall(section)]
            assert commands, f"{page.name}: {section.splitlines()[0]}"
            assert all(exists(*command) for command in commands), commands


def exists(tool: str, name: str) -> bool:
    """Whether a target of make, a module or a command is there."""
    if tool == "make":
        return f"\n{name}:" in (ROOT / "Makefile").read_text()
    return find_spec(name) is not None if tool == "python -m" else (ROOT / "patcher" / "cli" / f"{name}.py").is_file()


def shown(found: list[Block]) -> Iterator[Block]:
    """The blocks with an output of which nothing before says what printed it."""
    ran = False
    for block in found:
        ran = ran or block.runs
        if block.language == "text" and not ran and block.why_not is None:
            yield block
