"""Saving and loading on transformers 5: every embedding stays the same, bit for bit, wherever the model is loaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.hub import LocalHub
from tests.hub.fixtures import LESER, OLA, client_env, hub
from tests.training.conftest import Configure
from tests.training.test_train import environment

__all__ = ["hub"]

ENCODE = """
import sys
import torch
from safetensors.torch import save_file
from sentence_transformers import SparseEncoder
from patcher.verify.texts import load_questions

torch.set_num_threads(1)
source, target, *more = sys.argv[1:]
model = SparseEncoder(source, trust_remote_code=True, device="cpu")
questions = load_questions()[:12]
options = {"convert_to_sparse_tensor": False, "batch_size": 4}
save_file(
    {
        "queries": model.encode_query([one.query for one in questions], **options).contiguous(),
        "documents": model.encode_document([one.positive for one in questions], **options).contiguous(),
    },
    target,
)
if more[:1] == ["save"]:
    model.save_pretrained(more[1])
if more[:1] == ["push"]:
    model.push_to_hub(more[1])
"""


def encode(source: str | Path, target: Path, env: dict[str, str], *more: str | Path) -> dict[str, torch.Tensor]:
    """Load `source` in a new process, encode some bundled questions, then `save` or `push` the model as told."""
    done = subprocess.run(
        [sys.executable, "-c", ENCODE, str(source), str(target), *map(str, more)],
        env=env | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = load_file(target)
    assert all(torch.isfinite(tensor).all() and tensor.count_nonzero() for tensor in found.values())
    return found


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), f"{name} differ by {(tensor - other[name]).abs().max()}"


@pytest.mark.parametrize("name", ["patched", pytest.param("capped", marks=pytest.mark.nightly)])
def test_a_saved_model_gives_the_same_embeddings_on_another_machine(
    bases: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """The other machine has nothing but the saved folder: another home, no cache, no base."""
    base = shutil.copytree(bases[name], tmp_path / "base")
    here = encode(base, tmp_path / "here", environment(tmp_path / "home"), "save", tmp_path / "saved")
    shutil.rmtree(base)
    shutil.move(tmp_path / "saved", tmp_path / "moved")
    assert_same(encode(tmp_path / "moved", tmp_path / "there", environment(tmp_path / "elsewhere")), here)


def test_a_model_on_the_hub_gives_the_same_embeddings(hub: LocalHub, bases: dict[str, Path], tmp_path: Path) -> None:
    owner = client_env(hub.endpoint, tmp_path / "owner", OLA)
    here = encode(bases["patched"], tmp_path / "here", owner, "push", "ola/norbert4-mini-splade")
    files = hub.files("ola/norbert4-mini-splade")
    assert {"modeling_gptbert.py", "configuration_gptbert.py", "model.safetensors", "modules.json"} <= set(files)
    reader = client_env(hub.endpoint, tmp_path / "reader", None)
    assert_same(encode("ola/norbert4-mini-splade", tmp_path / "there", reader), here)


def test_a_trained_router_on_the_hub_is_whole_and_needs_no_base(
    hub: LocalHub, bases: dict[str, Path], configure: Configure, tmp_path: Path
) -> None:
    """Its base came from the Hub, and its transformer lies in a sub-folder, where transformers looks for no code."""
    hub.seed("ola/base", bases["patched"])
    path = configure(
        model={
            **{"base_model": "ola/base", "trust_remote_code": True, "max_seq_length": 32},
            **{"architecture": "inference-free-splade", "use_router": True},
        },
        training__max_steps=1,
        training__eval_steps=1,
        training__save_steps=1,
        training__push_to_hub=True,
        training__hub_model_id="ola/trained",
    )
    env = client_env(hub.endpoint, tmp_path / "owner", OLA) | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    script = ROOT / "templates" / "train_splade.py"
    done = subprocess.run([sys.executable, str(script), str(path)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(hub.commits("ola/trained")) == 2, "the first commit made the repository, and one push followed"
    files = hub.files("ola/trained")
    assert {"splade_router.py", "modeling_gptbert.py", "configuration_gptbert.py", "modules.json"} <= set(files)
    assert not [name for name in files if "checkpoint" in name or name.endswith((".pt", ".bin"))]
    final = tmp_path / "out" / "out-final"
    here = encode(final, tmp_path / "here", environment(tmp_path / "elsewhere"), "save", tmp_path / "saved-again")

    hub.reset_counters()
    reader = client_env(hub.endpoint, tmp_path / "reader", OLA)
    assert_same(encode("ola/trained", tmp_path / "there", reader), here)
    assert not [request for request in hub.requests if "ola/base" in request.path]
    assert_same(encode(tmp_path / "saved-again", tmp_path / "again", environment(tmp_path / "third")), here)


def test_a_target_that_can_not_be_written_is_refused_before_any_row_is_read(
    hub: LocalHub, configure: Configure, tmp_path: Path
) -> None:
    hub.create_repo("ola/trained")
    path = configure(
        training__push_to_hub=True, training__hub_model_id="ola/trained", train__source=str(tmp_path / "none.jsonl")
    )
    env = client_env(hub.endpoint, tmp_path / "reader", LESER) | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    script = ROOT / "templates" / "train_splade.py"
    done = subprocess.run([sys.executable, str(script), str(path)], env=env, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("Error: ") and "ola/trained" in error
    assert hint.startswith("Hint: ")
