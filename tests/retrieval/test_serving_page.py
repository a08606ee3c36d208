"""docs/serving.md as a reader follows it: every block runs, and what it is said to print it prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT, user_environment

PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(bash|python|text)\n(.*?)^```\n(<!-- not run: [^\n]+ -->)?", re.MULTILINE | re.DOTALL)
_SHELL = 'set -eu; patcher() { "$PYTHON" -m patcher "$@"; }\n'


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    skipped: bool


def blocks(heading: str) -> list[Block]:
    """The blocks of a section."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = [one for one in section if one.startswith(f"{heading}\n")]
    return [Block(one[1], one[2], bool(one[3])) for one in _BLOCK.finditer(text)]


@dataclass(frozen=True)
class Reader:
    """Somebody with a folder who runs the blocks of one section after the other."""

    folder: Path

    def follow(self, heading: str, **environment: str) -> None:
        printed = ""
        for block in blocks(heading):
            if block.language == "text":
                assert words(block.code) <= words(printed), printed
            elif not block.skipped:
                printed = self._run(block, environment)

    def _run(self, block: Block, environment: dict[str, str]) -> str:
        runs = {"bash": ["bash", "-c", _SHELL + block.code], "python": [sys.executable, "-c", block.code]}
        home = self.folder / "home"
        done = subprocess.run(
            runs[block.language],
            cwd=self.folder,
            env={**user_environment(home), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def words(text: str) -> set[tuple[str, ...]]:
    """The lines of an output as words, numbers aside: they may differ by rounding."""
    return {tuple(re.sub(r"\d+\.\d+", "0.0", line).split()) for line in text.splitlines()}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader who has searched and has encoded the vectors."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "tests").symlink_to(ROOT / "tests")
    (folder / "home").mkdir()
    found = Reader(folder)
    found.follow("Search")
    found.follow("Vectors for an index")
    return found


def test_the_vectors_are_there(reader: Reader) -> None:
    assert {path.name for path in reader.folder.iterdir()} >= {"documents.qdrant", "questions.pgvector"}


@pytest.mark.skipif(find_spec("qdrant_client") is None, reason="qdrant-client is not installed")
def test_qdrant_answers(reader: Reader) -> None:
    reader.follow("Qdrant")


def test_postgresql_answers(reader: Reader, postgres: str) -> None:
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed")
    reader.follow("PostgreSQL", DATABASE_URL=postgres, PATH=os.environ["PATH"])


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
def test_onnx_answers(reader: Reader) -> None:
    reader.follow("ONNX")


def test_every_block_belongs_to_a_section_that_runs_or_says_why_not() -> None:
    followed = ("Search", "Vectors for an index", "Qdrant", "PostgreSQL", "ONNX")
    runs = sum(len(blocks(heading)) for heading in followed)
    skipped = [one for one in _BLOCK.finditer(PAGE) if one[3]]
    assert runs + len(skipped) == len(_BLOCK.findall(PAGE)) == PAGE.count("```") // 2


def test_the_table_of_formats_is_that_of_the_code() -> None:
    from patcher.retrieval.formats import FORMATS

    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(FORMATS)
