"""The blocks of code in README and docs, and somebody who types them in an empty folder.

A block in `bash` or `python` runs, unless `<!-- not run: the reason -->` follows it. A block in `text` behind one that
runs is what that one prints: whole lines of it, in any number; `...` stands for others.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import MINI, ROOT, user_environment
from tests.hub import LocalHub
from tests.hub.fixtures import client_env

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLLOWED = ("README.md", "docs/quickstart.md", "docs/publishing.md", "docs/patching.md", "docs/python-api.md")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$\n?(?:<!-- not run: ([^\n]+) -->)?", re.MULTILINE | re.DOTALL)
# Nobody is at a terminal here: a reader says yes where the pages say that a command asks.
_SHELL = """set -eu
patcher() {
  case "$1" in
    patch|verify|repair|threshold) "$PYTHON" -m patcher "$@" --trust-remote-code ;;
    publish) "$PYTHON" -m patcher "$@" --yes ;;
    *) "$PYTHON" -m patcher "$@" ;;
  esac
}
"""


@dataclass(frozen=True)
class Block:
    """A block of code; `why_not` is the reason why it is not run."""

    language: str
    code: str
    why_not: str | None

    @property
    def runs(self) -> bool:
        return self.language in {"bash", "python"} and self.why_not is None


def blocks(text: str) -> list[Block]:
    """The blocks of a page or of a part of it, in order."""
    return [Block(one[1], one[2], one[3]) for one in _BLOCK.finditer(text)]


def written(page: Path) -> str:
    """A page without what is made from the code."""
    return re.sub(r"<!-- reference -->.*<!-- end of the reference -->", "", page.read_text("utf-8"), flags=re.DOTALL)


def outputs(text: str, run: Reader) -> Iterator[tuple[Block, str]]:
    """Run the blocks in order; each block that shows an output, and what was printed."""
    printed = ""
    for block in blocks(text):
        if block.runs:
            printed = run(block)
        elif block.language == "text" and block.why_not is None:
            yield block, printed


@dataclass(frozen=True)
class Reader:
    """Somebody with a folder who runs blocks."""

    folder: Path
    environment: Mapping[str, str]

    def __call__(self, block: Block) -> str:
        """What a block prints on stdout. Fails where it fails."""
        runs = {"bash": ["bash", "-c", _SHELL + block.code], "python": [sys.executable, "-c", block.code]}
        environment = {**self.environment, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            runs[block.language], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in expected(block), f"{block.code}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def expected(block: Block) -> set[int]:
    """How a block ends: a check that is meant to fail ends with 1."""
    return {1} if "# exit code 1" in block.code else {0}


@contextmanager
def reader_with_a_hub(folder: Path) -> Iterator[Reader]:
    """Somebody with a clone beside them and an account `you` on a Hub, where ltg/norbert4-base is the miniature."""
    (folder / "tests").symlink_to(ROOT / "tests")
    with LocalHub(folder / "hub") as hub:
        hub.add_user("you", "hf_token_of_a_reader")
        hub.seed("ltg/norbert4-base", MINI)
        home = folder / "home"
        yield Reader(folder, user_environment(home) | client_env(hub.endpoint, home, "hf_token_of_a_reader"))


COMMIT = r"\b(?=[a-f]*\d)[0-9a-f]{7,40}\b"
ROUNDED = re.compile(rf"{COMMIT}|\d+\.\d+")  # numbers with decimals may differ by rounding


def lines(text: str, masked: re.Pattern[str] = ROUNDED) -> dict[str, str]:
    """The lines of an output by their words."""
    return {words_of(line, masked): line for line in text.splitlines()}


def words_of(line: str, masked: re.Pattern[str] = ROUNDED) -> str:
    """The words of a line, with 0 for what is masked: commits and numbers."""
    return " ".join(masked.sub("0", line).split())


def missing(block: Block, printed: str) -> list[str]:
    """The lines of a block that are no longer printed."""
    found = lines(printed)
    return [line for words, line in lines(block.code).items() if words not in found and not line.startswith("...")]
