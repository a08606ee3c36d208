"""README and docs: links lead somewhere, also those of errors; the README stays short; commands and options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.cli.main import app
from patcher.errors import DOCUMENTATION
from tests.conftest import ROOT
from tests.docs import api
from tests.docs.hints import entries, hints, strings

ONE_LINE = 80 - len("Hint: ")

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


def test_a_hint_that_is_longer_than_one_line_links_to_its_entry() -> None:
    found = list(hints())
    assert len(found) > 300
    words = {one.text.partition(" See ")[0] for one in found}
    assert "Use a model that sentence-transformers saved; for a base model use `patcher patch`." in words, "lacks()"
    assert "Set training.resume_from_checkpoint to true, or another training.output_dir." in words, "a local name"
    assert [one for one in found if len(one.text) > ONE_LINE and not one.linked] == []


def test_no_hint_names_what_only_a_checkout_or_an_index_has() -> None:
    """A target of make, a module of the tests, or this package with an extra, under a name of an index."""
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.compile(rf"`make |\bmake ({'|'.join(targets)})\b|-m tests\.|splade-patcher\[|--(?:extra-)?index-url")
    own = re.compile(r"pip install [^`]*splade-patcher")
    found = [*hints(), *strings()]
    assert len(targets) > 20 and len(found) > 400
    assert [one for one in found if named.search(one.text) or own.search(one.text)] == []


def test_every_link_of_an_error_leads_to_an_entry_of_the_page() -> None:
    linked = entries()
    assert len(linked) > 20
    assert [link for link in linked if link[1] not in anchors(ROOT / "docs" / f"{link[0]}.md")] == []


def test_the_address_of_the_pages_is_that_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'Documentation = "{DOCUMENTATION}"\n' in project
    assert f"site_url: {DOCUMENTATION}\n" in (ROOT / "docs" / "mkdocs.yml").read_text()


def test_the_python_api_page_is_made_from_the_code() -> None:
    assert api.PAGE.read_text("utf-8") == api.page(), "make figures"


def test_the_site_builds_and_no_page_is_left_out_of_it(tmp_path: Path) -> None:
    words = ["mkdocs", "build", "--strict", "-f", "docs/mkdocs.yml", "-d", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in (ROOT / "docs").glob("*.md"):
        assert (tmp_path / ("index.html" if page.stem == "README" else f"{page.stem}/index.html")).is_file(), page
