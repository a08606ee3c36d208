"""What is in the wheel, and that nothing of the package needs the checkout around it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from patcher.constants import TOOL_URL
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=ROOT, check=True)
    return next(out.glob("splade_patcher-*.whl"))


def test_the_wheel_holds_the_package_its_data_and_the_templates_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "patcher/cli/__init__.py",
        "patcher/py.typed",
        "patcher/templates/model_card.md.jinja",
        "patcher/templates/repaired_card.md.jinja",
        "patcher/templates/family.txt",
        "patcher/templates/train_splade.py",
        "patcher/templates/configs/norbert4-base.yaml",
        "patcher/verify/texts/probe.jsonl",
        "patcher/verify/texts/questions.jsonl",
        "patcher/verify/texts/hard_questions.jsonl",
        "patcher/verify/texts/bm25.json",
    ):
        assert wanted in names
    assert {name.split("/")[0] for name in names} == {
        "patcher",
        next(n for n in names if ".dist-info" in n).split("/")[0],
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)
    metadata = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert f"Project-URL: Homepage, {TOOL_URL}\n" in metadata


def test_the_templates_are_found_in_a_bare_environment(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    code = (
        "from importlib.resources import files; import patcher\n"
        "print(sorted(path.name for path in (files(patcher) / 'templates').iterdir()))"
    )
    done = subprocess.run([str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "model_card.md.jinja" in done.stdout


def test_help_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\nfrom patcher.cli import main\nmain(['--help'])\nmain(['patch', '--help'])\n"
        "sys.exit(bool({'torch', 'transformers', 'sentence_transformers', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


def test_the_constraints_pin_what_the_package_asks_for() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    for name in (
        "torch",
        "transformers",
        "huggingface-hub",
        "libcst",
        "safetensors",
        "jinja2",
        "typer",
        "rich",
        "pytest",
    ):
        assert name in pinned, name
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
