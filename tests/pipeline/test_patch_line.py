"""The script that patches one line of a list runs under uv, as it would as a job on the Hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import MINI, ROOT
from tests.hub import LocalHub

UV = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))  # the extra `test` has it
SCRIPT = ROOT / "templates" / "patch_line.py"


def write_wheel(folder: Path) -> None:
    """A wheel of the package's name without content and requirements: PYTHONPATH has both, nothing is downloaded."""
    name = "splade_patcher-0.0.0"
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        for file, text in {
            "METADATA": "Metadata-Version: 2.1\nName: splade-patcher\nVersion: 0.0.0\n"
            "Provides-Extra: sentence-transformers\n",
            "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }.items():
            wheel.writestr(f"{name}.dist-info/{file}", text)


@pytest.mark.parametrize(
    "runner", [pytest.param("uv", marks=pytest.mark.skipif(UV is None, reason="uv is not installed")), "python"]
)
def test_one_line_of_a_list_is_patched_published_and_put_into_the_table(
    hub: LocalHub, hub_env: dict[str, str], tmp_path: Path, runner: str
) -> None:
    hub.add_user("ltg", "hf_ltg")
    hub.seed("ltg/norbert4-mini", MINI)
    listed, rows = tmp_path / "list.txt", tmp_path / "rows.jsonl"
    listed.write_text("nobody/nothing\nltg/norbert4-mini mini\n")
    write_wheel(tmp_path)
    uv = [UV, "run", "--no-index", "--find-links", tmp_path, "--python", sys.executable, "--script"]
    command = [*(uv if runner == "uv" else [sys.executable]), SCRIPT, listed, "2", "ola", "--no-verify"]
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    environment = hub_env | {"PYTHONPATH": os.pathsep.join(paths), "UV_CACHE_DIR": str(tmp_path / "uv")}
    done = subprocess.run(
        list(map(str, command)), env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["source"].startswith("ltg/norbert4-mini@") and row["published"].startswith(f"{hub.endpoint}/ola/mini")
    assert row["downloaded"] > (MINI / "model.safetensors").stat().st_size
    assert hub.read("ola/mini", "model.safetensors") == (MINI / "model.safetensors").read_bytes()
    rows.write_text(f"{done.stdout}{json.dumps(row | {'status': 'failed', 'reason': 'why'})}\n")
    words = [sys.executable, SCRIPT, "--table", rows]
    table = subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, check=True).stdout
    assert [line.split(" | ")[1] for line in table.splitlines()] == ["status", "---", "patched", "failed"]
