"""Two models are compared, and only one set of weights is in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from patcher.patching.writer import staged_model
from patcher.planning.plan import make_plan
from patcher.sandbox.guard import environment
from patcher.source.snapshot import resolve
from tests.conftest import MINI, ROOT
from tests.verify.running import TEXTS

LARGER = {"hidden_size": 640, "intermediate_size": 1664, "num_attention_heads": 10, "query_key_head_size": 64}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """The miniature's code at the width of the base model, four layers deep, with random weights, patched."""
    folder = shutil.copytree(MINI, tmp_path / "large")
    config = json.loads((folder / "config.json").read_text()) | LARGER | {"value_head_size": 64}
    old = json.loads((MINI / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    sizes = {
        old["hidden_size"]: config["hidden_size"],
        old["intermediate_size"]: config["intermediate_size"],
        old["num_attention_heads"]: config["num_attention_heads"],
        old["query_key_head_size"]: config["query_key_head_size"],
    }
    torch.manual_seed(0)
    tensors = {
        name: tensor if "lambdas" in name else torch.randn([sizes.get(size, size) for size in tensor.shape]) * 0.02
        for name, tensor in load_file(MINI / "model.safetensors").items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    snapshot = resolve(str(folder))
    with staged_model(make_plan(snapshot), snapshot, tmp_path / "large-splade"):
        pass
    return tmp_path / "large-splade"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_both_models_hold_one_set_of_weights(patched: Path, large: Path, tmp_path: Path) -> None:
    """The weights, what training holds of each, and the copy that is loaded again; a second set would be one more."""
    command = [sys.executable, "-m", "tests.verify.measure.memory", str(patched), str(large), str(tmp_path / "scratch")]
    (tmp_path / "home").mkdir()
    guarded = environment(tmp_path / "home", "cpu")
    done = subprocess.run(command, cwd=ROOT, env=guarded, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["failure"] is None
    weights = (large / "model.safetensors").stat().st_size
    logits = len(TEXTS) * 40 * 8192 * 4
    print(f"\npeak {measured['peak'] / weights:.2f} times the weights ({weights / 1e6:.0f} MB)")
    assert measured["peak"] < 3.4 * weights + logits
