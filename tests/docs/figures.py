"""Runs again what README and docs show, and writes it there: `make figures`.

Outputs behind the blocks that run, the words of the pictures, the tables that are made from code and tests, and the
reference of the Python API. Lines that are not printed any more are named, to be edited by hand. What takes minutes is
not run: the commands for it are printed.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from patcher.documents.plots import pictures
from patcher.verify.report import load_report
from tests.conftest import ROOT
from tests.docs import api
from tests.docs.reader import COMMIT, FOLLOWED, PAGES, Reader, lines, outputs, reader_with_a_hub, words_of, written
from tests.sandbox import table as sandbox
from tests.verify import table as verify

HEAVY = re.compile(r"`(make (?:bench|train-demo|threshold-demo)[^`]*|python -m tests\.(?:benchmarks|training)[^`]*)`")
_COMMITS = re.compile(COMMIT)
_NUMBERS = re.compile(rf"{COMMIT}|\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
_PICTURE = re.compile(r"!\[[^]]+\](?=\([^)]*/(\w+\.png)\))")


def main() -> int:
    """Refresh the pages; 1 where a line has to be edited by hand."""
    stale = []
    for module in (api, sandbox, verify):
        replace(module.PAGE, module.page())
    with tempfile.TemporaryDirectory() as name, reader_with_a_hub(Path(name)) as reader:
        for page in (ROOT / one for one in FOLLOWED):
            stale += [f"{page.name}: no longer printed: {line}" for line in refresh(page, reader)]
        describe(reader.folder / "norbert4-base-splade")
    print("\n".join(stale) or "All outputs are as shown.")
    for page in PAGES:
        for command in dict.fromkeys(HEAVY.findall(page.read_text("utf-8"))):
            print(f"{page.name}: not run here, as it takes minutes: {command}")
    return int(bool(stale))


def refresh(page: Path, reader: Reader) -> list[str]:
    """Put the present numbers into the outputs of a page; the lines that are no longer printed."""
    text, stale = page.read_text("utf-8"), []
    for block, printed in outputs(written(page), reader):
        found = lines(printed, _NUMBERS)
        present = []
        for line in block.code.splitlines():
            words = words_of(line, _NUMBERS)
            if words not in found and not line.startswith("..."):
                stale.append(line)
            new = found.get(words, line)
            same = words_of(new, _COMMITS) == words_of(line, _COMMITS)  # commits differ with the time of the run
            present.append(line if same else new)
        text = text.replace(block.code, "\n".join(present) + "\n")
    replace(page, text)
    return stale


def describe(folder: Path) -> None:
    """Put the present figures into the words of the pictures."""
    report = load_report(folder)
    assert report is not None
    alts = {picture.png.rpartition("/")[2]: picture.alt for picture in pictures(report)}
    for page in PAGES:
        text = page.read_text("utf-8")
        replace(page, _PICTURE.sub(lambda one: f"![{alts[one[1]]}]" if one[1] in alts else one[0], text))


def replace(page: Path, text: str) -> None:
    """Write a page where it changed, and say so."""
    if text != page.read_text("utf-8"):
        page.write_text(text, "utf-8")
        print(f"{page.name}: written")


if __name__ == "__main__":
    sys.exit(main())
