"""Training runs of a few steps: what they leave behind, resuming, the router, checkpointing, several processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from patcher.pipeline.api import patch_model
from patcher.planning.plan import make_plan
from patcher.planning.rewriting import Options
from patcher.source.snapshot import resolve
from tests.conftest import MINI, ROOT, user_environment
from tests.training.conftest import Configure

SCRIPT = ROOT / "templates" / "train_splade.py"
TEXTS = ["Hva er hovedstaden i Norge?", "Oslo er hovedstaden og den største byen i Norge."]


def train(path: Path, *arguments: str) -> None:
    from train_splade import main

    assert main([str(path), *arguments]) == 0


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.relative_to(folder)}/{name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    return user_environment(home) | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def test_a_run_leaves_the_model_the_figures_and_the_settings(
    configure: Configure, bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(configure())
    said = capsys.readouterr()
    assert said.out.startswith("dot_ndcg@10 ")
    assert "'loss'" in said.err

    out = tmp_path / "out"
    found = json.loads((out / "evaluation.json").read_text("utf-8"))
    assert found["steps"] == 4
    assert [entry["step"] for entry in found["during"]] == [2, 4]
    assert found["during"][-1] == {"step": 4, **found["after"]}
    assert set(found["before"]) == set(found["after"])
    assert found["before"] != found["after"]
    assert 0.5 < found["after"]["query_sparsity_ratio"] < 1
    settings = yaml.safe_load((out / "training_config.yaml").read_text("utf-8"))
    assert settings["training"]["max_steps"] == 4

    final = out / "final"
    names = {path.name for path in final.iterdir()}
    assert {"config.json", "modeling_gptbert.py", "configuration_gptbert.py", "model.safetensors"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt"))], "no pickles"
    assert "--" not in json.dumps(json.loads((final / "config.json").read_text("utf-8"))["auto_map"])
    assert not same(weights(final), weights(bases["patched"]))


def test_the_trained_model_is_splade_as_asked_for(configure: Configure, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    train(configure(model__pooling_strategy="sum", training__max_steps=1, training__save_steps=9))
    model = SparseEncoder(str(tmp_path / "out" / "final"), trust_remote_code=True, device="cpu")
    assert isinstance(model[1], SpladePooling)
    assert (model[1].pooling_strategy, model.similarity_fn_name, model.max_seq_length) == ("sum", "dot", 32)


def test_a_killed_run_goes_on_where_it_was(configure: Configure, tmp_path: Path) -> None:
    """The state at the end is that of a run that nobody disturbed, bit for bit."""
    settings = {"training__max_steps": 8, "training__save_steps": 3, "training__eval_steps": 8}
    path = configure(**settings, training__output_dir=str(tmp_path / "killed"))
    command = [sys.executable, str(SCRIPT), str(path)]
    child = subprocess.Popen(command, env=environment(tmp_path / "home"), stderr=subprocess.DEVNULL)
    saved = tmp_path / "killed" / "checkpoint-3" / "trainer_state.json"
    patience = time.monotonic() + 300
    while not saved.is_file() and child.poll() is None and time.monotonic() < patience:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert saved.is_file()
    assert not (tmp_path / "killed" / "final").exists(), "the run was over before it could be killed"

    resumed = subprocess.run(command, env=environment(tmp_path / "home"), capture_output=True, text=True, check=True)
    assert resumed.stdout.startswith("dot_ndcg@10 ")
    path = configure(**settings, training__output_dir=str(tmp_path / "whole"))
    whole = [sys.executable, str(SCRIPT), str(path)]
    subprocess.run(whole, env=environment(tmp_path / "home"), capture_output=True, check=True)

    figures = [json.loads((tmp_path / run / "evaluation.json").read_text("utf-8")) for run in ("killed", "whole")]
    assert figures[0] == figures[1]
    assert figures[0]["steps"] == 8
    assert same(weights(tmp_path / "killed" / "final"), weights(tmp_path / "whole" / "final"))
    logs = [
        json.loads((tmp_path / run / "checkpoint-8" / "trainer_state.json").read_text("utf-8"))["log_history"]
        for run in ("killed", "whole")
    ]
    assert [entry["step"] for entry in logs[0] if "loss" in entry] == list(range(1, 9))
    assert [entry.get("loss") for entry in logs[0]] == [entry.get("loss") for entry in logs[1]]


def test_the_router_trains_queries_without_a_model(configure: Configure, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    train(
        configure(
            model__architecture="inference-free-splade",
            model__use_router=True,
            training__max_steps=2,
            training__query_learning_rate=0.5,
        )
    )
    final = tmp_path / "out" / "final"
    model = SparseEncoder(str(final), trust_remote_code=True, device="cpu")
    [static] = [module for module in model.modules() if isinstance(module, SparseStaticEmbedding)]
    assert (static.weight - 1).abs().max() > 0.1, "the query weights have a learning rate of their own"
    query = model.encode_query(TEXTS[:1], convert_to_sparse_tensor=False)
    ids = static.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    assert sorted(query[0].nonzero().flatten().tolist()) == sorted(set(ids))
    documents = model.encode_document(TEXTS, convert_to_sparse_tensor=False)
    assert documents.shape == (2, query.shape[1])


def test_gradient_checkpointing_changes_no_loss(configure: Configure, tmp_path: Path) -> None:
    losses = []
    for wanted in (False, True):
        out = tmp_path / f"out-{wanted}"
        train(configure(training__output_dir=str(out), training__gradient_checkpointing=wanted, training__max_steps=2))
        state = json.loads((out / "checkpoint-2" / "trainer_state.json").read_text("utf-8"))
        losses.append([entry["loss"] for entry in state["log_history"] if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
def test_two_processes_train_with_gradient_checkpointing(configure: Configure, tmp_path: Path) -> None:
    """DistributedDataParallel on two CPU processes (gloo): `accelerate launch` starts as many on GPUs only."""
    snapshot = resolve(str(MINI))
    plan = make_plan(snapshot, Options(checkpointing=True))
    base = patch_model(plan, snapshot, tmp_path / "base", None).folder
    path = configure(model__base_model=str(base), training__gradient_checkpointing=True)
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]
    done = subprocess.run(
        [sys.executable, *launch, str(SCRIPT), str(path)],
        env=environment(tmp_path / "home") | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("dot_ndcg@10 ") == 1, "one process prints the result"
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert found["steps"] == 4
    state = json.loads((tmp_path / "out" / "checkpoint-4" / "trainer_state.json").read_text("utf-8"))
    assert state["epoch"] == pytest.approx(4 / 12), "each step took a batch for each of the two processes"
    assert (tmp_path / "out" / "final" / "model.safetensors").is_file()
