"""The reference for "right": the code as published on transformers 4.57, against the patched code on transformers 5.

Needs a second environment, so it runs by `make test-transformers4`, which names its Python in PATCHER_TRANSFORMERS4.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from patcher.patching.record import load
from patcher.verify.settings import MAX_TOKENS
from patcher.verify.texts import load_probe_texts
from tests.conftest import MINI, user_environment

PYTHON4 = os.environ.get("PATCHER_TRANSFORMERS4", "")
pytestmark = pytest.mark.skipif(not PYTHON4, reason="run `make test-transformers4`")


def logits(python: str, folder: Path, place: Path) -> tuple[torch.Tensor, torch.Tensor, str]:
    """From another Python: logits [positions, vocabulary] of all texts, which of them are synthetic rows [positions],
    and its transformers."""
    place.mkdir()
    (place / "texts.json").write_text(json.dumps([text.text for text in load_probe_texts()]))
    environment = {key: value for key, value in user_environment(place).items() if key != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(place / "modules"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).with_name("logits.py")
    command = [
        python,
        str(script),
        str(folder),
        str(place / "texts.json"),
        str(MAX_TOKENS),
        str(place / "out.safetensors"),
    ]
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    version = [python, "-c", "import transformers; print(transformers.__version__)"]
    tensors = load_file(place / "out.safetensors")
    answer = subprocess.run(version, env=environment, check=True, capture_output=True, text=True)
    return tensors["logits"], tensors["synthetic"], answer.stdout.strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.Tensor, torch.Tensor]:
    found, synthetic, version = logits(PYTHON4, MINI, tmp_path_factory.mktemp("four") / "run")
    assert version.startswith("4.57")
    return found, synthetic


def difference(original: tuple[torch.Tensor, torch.Tensor], patched: torch.Tensor, folder: Path) -> float:
    """Largest difference through the cap over real positions, and of the synthetic row as it is."""
    cap = load(folder).soft_cap
    base, synthetic = original
    capped = cap.scale * torch.sigmoid(patched / cap.temperature)
    return float((base - torch.where(synthetic[:, None], patched, capped)).abs().max())


def test_the_original_on_4_and_the_patched_on_5_agree_through_the_cap(
    original: tuple[torch.Tensor, torch.Tensor], patched_once: Path, tmp_path: Path
) -> None:
    found, _, version = logits(sys.executable, patched_once, tmp_path / "five")
    assert version.startswith("5.")
    largest = difference(original, found, patched_once)
    print(f"\nlargest difference through the cap, 4.57 against {version}: {largest:.3g}")
    assert largest <= 1e-5


def test_the_patched_model_gives_the_same_on_4(
    original: tuple[torch.Tensor, torch.Tensor], patched_once: Path, tmp_path: Path
) -> None:
    found, _, version = logits(PYTHON4, patched_once, tmp_path / "four")
    assert version.startswith("4.57")
    assert difference(original, found, patched_once) <= 1e-5


def test_the_original_on_5_does_not_even_load(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        logits(sys.executable, MINI, tmp_path / "five")
    assert "is_decoder" in caught.value.stderr
