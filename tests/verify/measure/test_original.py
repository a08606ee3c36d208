"""The script of another environment, run here on repaired code, which loads on both; and how it is refused here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from patcher.verify.measure import original
from patcher.verify.measure.original import run
from tests.conftest import ROOT

TEXTS = ["Oslo er hovedstaden i Norge.", "Fjorden ligg stille om morgonen."]


def answer(folder: Path, scratch: Path, auto_class: str) -> dict[str, object]:
    scratch.mkdir()
    request = {"folder": str(folder), "auto_class": auto_class, "texts": TEXTS, "max_tokens": 6}
    return run(request, scratch)


def test_each_text_has_its_tokens_and_its_output(
    patched_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(original.transformers, "__version__", "4.57.6")
    found = answer(patched_once, tmp_path / "scratch", "AutoModelForMaskedLM")
    assert found == {"transformers": "4.57.6", "texts": 2}
    first = load_file(tmp_path / "scratch" / "outputs" / "0.safetensors")
    assert first["output"].shape == (6, 8192) and first["ids"].tolist()[0] == 2
    assert first["output"].dtype == torch.float32 and bool(first["output"].isfinite().all())
    assert (tmp_path / "scratch" / "outputs" / "1.safetensors").is_file()


def test_transformers_5_runs_nothing(patched_once: Path, tmp_path: Path) -> None:
    assert answer(patched_once, tmp_path / "scratch", "AutoModel")["texts"] == 0
    assert not (tmp_path / "scratch" / "outputs").exists()


def test_it_imports_nothing_that_the_other_environment_may_lack() -> None:
    code = (
        "import sys; import patcher.verify.measure.original\n"
        "sys.exit(any(name.split('.')[0] in {'cattrs', 'libcst', 'typer'} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
