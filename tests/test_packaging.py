"""What is in the wheel, and that nothing of the package needs the checkout around it."""

from __future__ import annotations

import shlex
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from patcher.constants import TOOL_URL
from tests.conftest import MINI, ROOT, user_environment


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


def without_extras(folder: Path) -> Path:
    """Links to what a wheel without extras brings along: its requirements, theirs, and nothing else of this one."""
    folder.mkdir()
    wanted, met = ["splade-patcher"], set[str]()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in met:
            continue
        met.add(name)
        found = distribution(name)
        needs = [Requirement(text) for text in found.requires or ()]
        wanted += [one.name for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
        if name != "splade-patcher":
            tops = {path.parts[0] for path in found.files or () if path.parts[0] not in {"..", "__pycache__"}}
            for top in tops:
                if not (folder / top).exists():
                    (folder / top).symlink_to(Path(str(found.locate_file(top))))
    return folder


def test_without_extras_the_command_writes_templates_and_plans_and_the_script_names_what_it_lacks(
    wheel: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    environment = user_environment(tmp_path / "home") | {"PYTHONPATH": str(without_extras(tmp_path / "packages"))}

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )

    command = tmp_path / "venv" / "bin" / "patcher"
    written = run(command, "templates", "mine")
    assert written.returncode == 0 and written.stdout.startswith("Wrote "), written.stderr
    train = shlex.split(written.stderr.removeprefix("next: "))
    assert train == ["python", "mine/train_splade.py", "mine/training_config.yaml"]
    done = run(python, *train[1:])
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("Error: Training needs ") and "sentence-transformers" in done.stderr
    planned = run(command, "plan", MINI, "--quiet")
    assert planned.returncode == 0, planned.stderr


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
