"""Training runs of a few steps: what they leave behind, resuming, the router, losses, several processes.

They run in this process where they can: to import the libraries costs more than a run of a few steps.
"""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from patcher.constants import REPAIRS
from patcher.hashing import sha256_of
from patcher.pipeline.api import patch_model
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.publish import load
from patcher.source.metadata import read_metadata
from patcher.source.snapshot import resolve
from tests.conftest import MINI, ROOT, user_environment
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env
from tests.snapshots.corpus.pairs import pairs
from tests.training.conftest import Configure, Configured

SCRIPT = ROOT / "templates" / "train_splade.py"
TEXTS = ["Hva er hovedstaden i Norge?", "Oslo er hovedstaden og den største byen i Norge."]
ROUTER = {"model__architecture": "inference-free-splade", "model__use_router": True}


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


def figures(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text("utf-8"))
    return found


def log(checkpoint: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))["log_history"]
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(home: Path) -> dict[str, str]:
    return user_environment(home) | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, configured: Configured) -> Path:
    """The output folder of a run of six steps, at a rate at which the last step is not the best one."""
    folder = tmp_path_factory.mktemp("run")
    out = {"training__output_dir": str(folder / "once"), "training__max_steps": 6, "training__learning_rate": 0.05}
    path = configured(folder, model__pooling_strategy="sum", **out)
    done = io.StringIO()
    with redirect_stdout(done):
        train(path)
    assert done.getvalue().startswith("dot_ndcg@10 ")
    return folder / "once"


def test_a_run_leaves_the_best_model_the_figures_and_the_settings(once: Path, bases: dict[str, Path]) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling
    from training_config import read_config

    out = once
    found = figures(out)
    assert found["steps"] == 6
    assert [entry["step"] for entry in found["during"]] == [2, 4, 6]
    best = max(found["during"], key=lambda entry: entry["dot_ndcg@10"])
    assert found["best_step"] == best["step"] != 6, "at this rate the last step is not the best one"
    assert best == {"step": best["step"], **found["after"]}
    assert set(found["before"]) == set(found["after"])
    assert found["rows"]["train"]["trained on"] == 100
    again = read_config(out / "training_config.yaml")
    assert again.training["max_steps"] == 6
    assert [one.name for one in again.datasets] == ["train", "eval"]

    final = out / found["model"]
    names = {path.name for path in final.iterdir()}
    assert {"config.json", "modeling_gptbert.py", "configuration_gptbert.py", "model.safetensors"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt"))], "no pickles"
    assert "--" not in json.dumps(json.loads((final / "config.json").read_text("utf-8"))["auto_map"])
    assert same(weights(final), weights(out / f"checkpoint-{best['step']}"))
    assert not same(weights(final), weights(bases["patched"]))

    model = SparseEncoder(str(final), trust_remote_code=True, device="cpu")
    assert isinstance(model[1], SpladePooling)
    assert (model[1].pooling_strategy, model.similarity_fn_name, model.max_seq_length) == ("sum", "dot", 32)


def test_the_trained_model_has_a_record_and_a_card_that_is_true(
    once: Path, rows_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    final = once / "once-final"
    record = json.loads((final / "training.json").read_text("utf-8"))
    files = {path.relative_to(final).as_posix(): path for path in final.rglob("*") if path.is_file()}
    del files["training.json"]
    assert record["files"] == {name: sha256_of(path) for name, path in sorted(files.items())}
    assert record["base"]["patched_from"]["path"] == MINI.name
    assert record["sets"][0]["sha256"] == sha256_of(rows_file)
    assert record["after"] == figures(once)["after"]

    assert {file.path for file in load(final).files} == {*files} - {"README.md"}, "fit to publish"

    card = (final / "README.md").read_text("utf-8")
    assert str(once.parent) not in card + (final / "training.json").read_text("utf-8")
    metadata = read_metadata(card)
    assert (metadata["license"], metadata["language"][0]) == ("apache-2.0", "no")
    assert "custom_code" in metadata["tags"]
    assert f"| `dot_ndcg@10` | {record['before']['dot_ndcg@10']:.4f} | {record['after']['dot_ndcg@10']:.4f} |" in card
    rows = [json.loads(line) for line in rows_file.read_text("utf-8").splitlines()]
    for shown in (card, next(once.glob("checkpoint-*/README.md")).read_text("utf-8")):
        assert not [row for row in rows if row["positive"] in shown], "no training row is quoted"

    monkeypatch.chdir(once)
    exec(card.split("```python\n")[1].split("```")[0], {})
    assert f"The last line prints `{capsys.readouterr().out.splitlines()[-1]}`." in card


@pytest.mark.parametrize(
    ("chosen", "what"),
    [
        ({}, "without the logit cap."),
        ({"codemods": REPAIRS}, "repaired for transformers 5, with its cap."),
        ({"threshold": 0.05}, "with a threshold of 0.05 in its code."),
    ],
    ids=["cap removed", "cap kept", "threshold"],
)
def test_the_card_says_of_its_base_what_the_record_says(
    once: Path, configure: Configure, tmp_path: Path, chosen: dict[str, Any], what: str
) -> None:
    from training_config import read_config
    from training_record import Base, write_record

    snapshot = resolve(str(MINI))
    base = patch_model(make_plan(snapshot, Options(**chosen)), snapshot, tmp_path / "base", None).folder
    model = SimpleNamespace(
        encode_query=lambda *_, **__: torch.tensor([0, 0.5]), tokenizer=SimpleNamespace(decode=lambda _: "hytte")
    )
    record = json.loads((once / "once-final" / "training.json").read_text("utf-8"))
    (tmp_path / "final").mkdir()
    write_record(model, tmp_path / "final", read_config(configure()), Base(base, resolve(str(base)).source), record)
    card = (tmp_path / "final" / "README.md").read_text("utf-8")
    assert f"which is `{MINI.name}` {what}\n" in card and card.count("logit cap") == (not chosen)


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        (None, None),
        ({"repo_id": "me/base", "revision": "a" * 40, "path": None}, ("me/base", "a" * 40, True)),
        ({"repo_id": None, "path": "base", "base_model": "me/base"}, ("me/base", None, True)),
        (
            {"repo_id": None, "path": "base", "base_model": "me/base", "base_revision": "b" * 40},
            ("me/base", "b" * 40, True),
        ),
        ({"repo_id": None, "revision": None, "path": "base"}, ("base", None, False)),
    ],
)
def test_the_card_names_the_repository_and_the_revision_where_they_are_known(
    source: dict[str, str] | None, origin: tuple[str, str | None, bool] | None
) -> None:
    from training_record import _origin_of

    assert _origin_of(source) == origin


def test_sets_with_losses_of_their_own_train_in_turn(configure: Configure, tmp_path: Path, eval_file: Path) -> None:
    """Round-robin over three sets; two learn from a teacher's scores, one through the cached loss."""
    scored = tmp_path / "scored.jsonl"
    found = [{**pair, "scores": [9.0, 1.0]} for pair in islice(pairs("train"), 40)]
    scored.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), "utf-8")
    columns = {"query": "query", "positive": "positive", "negatives": "negative"}
    teacher = {"source": str(scored), "columns": {**columns, "score": "scores"}}
    sets = [
        {"name": "ranked", "source": str(eval_file), "columns": columns, "loss": {"type": "CachedSpladeLoss"}},
        {"name": "margin", **teacher, "eval_share": 8, "loss": {"base": "SparseMarginMSELoss"}},
        {"name": "kl", **teacher, "loss": {"base": "SparseDistillKLDivLoss", "options": {"temperature": 4.0}}},
    ]
    sampling = {"multi_dataset_batch_sampler": "round_robin", "batch_sampler": "batch_sampler", "max_steps": 3}
    settings = {f"training__{key}": value for key, value in {**sampling, "eval_steps": 3, "save_steps": 3}.items()}
    train(configure(datasets=sets, evaluation={"bundled_questions": True}, **settings))
    entries = [entry for entry in log(tmp_path / "out" / "checkpoint-3") if "loss" in entry]
    assert [entry["step"] for entry in entries] == [1, 2, 3]
    found_figures = figures(tmp_path / "out")
    assert found_figures["metric"] == "sequential_score", "two evaluations: the mean of both chooses the best step"
    assert {"dot_ndcg@10", "bundled_dot_ndcg@10"} <= set(found_figures["after"])
    margin = {what: count for what, count in found_figures["rows"]["margin"].items() if count}
    assert margin == {"read": 40, "trained on": 32, "held out": 8}


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [({}, "SpladeLoss"), ({"type": "CachedSpladeLoss", "mini_batch_size": 2}, "CachedSpladeLoss")],
)
def test_the_loss_is_the_one_asked_for(wanted: dict[str, Any], kind: str) -> None:
    from sentence_transformers import SparseEncoder
    from train_splade import make_loss
    from training_config import Loss

    from patcher.errors import UsageError

    model = SparseEncoder(modules=[torch.nn.Identity()], device="cpu")
    weighted = Loss(**wanted, query_regularizer_weight=2.0, document_regularizer_weight=3.0, options={"scale": 5.0})
    loss = make_loss(model, weighted, router=False)
    assert type(loss).__name__ == kind
    assert (loss.query_regularizer_weight, loss.document_regularizer_weight, loss.loss.scale) == (2.0, 3.0, 5.0)
    assert getattr(loss, "mini_batch_size", 2) == 2
    assert make_loss(model, weighted, router=True).query_regularizer_weight is None
    with pytest.raises(UsageError, match=r"Unknown key loss\.options\.scal\.") as caught:
        make_loss(model, Loss(options={"scal": 1}), router=False)
    assert caught.value.hint == "Did you mean loss.options.scale?"


def test_a_killed_run_goes_on_where_it_was(configure: Configure, tmp_path: Path) -> None:
    """The state at the end is that of a run that nobody disturbed, bit for bit."""
    settings = {"training__max_steps": 8, "training__save_steps": 3, "training__eval_steps": 3}
    path = configure(**settings, training__output_dir=str(tmp_path / "killed"))
    command = [sys.executable, str(SCRIPT), str(path)]
    child = subprocess.Popen(command, env=environment(tmp_path / "home"), stderr=subprocess.DEVNULL)
    saved = tmp_path / "killed" / "checkpoint-3" / "trainer_state.json"
    limit = time.monotonic() + 300
    while not saved.is_file() and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert saved.is_file()
    assert not (tmp_path / "killed" / "killed-final").exists(), "the run was over before it could be killed"

    train(path)
    train(configure(**settings, training__output_dir=str(tmp_path / "whole")))
    killed, whole = (figures(tmp_path / run) for run in ("killed", "whole"))
    assert {**killed, "model": ""} == {**whole, "model": ""}
    assert killed["steps"] == 8
    assert same(weights(tmp_path / "killed" / "killed-final"), weights(tmp_path / "whole" / "whole-final"))
    logs = [log(tmp_path / run / "checkpoint-8") for run in ("killed", "whole")]
    assert [entry["step"] for entry in logs[0] if "loss" in entry] == list(range(1, 9))
    assert [entry.get("loss") for entry in logs[0]] == [entry.get("loss") for entry in logs[1]]


def test_the_router_trains_queries_without_a_model_and_goes_on_after_an_interruption(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import training_trainer
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from train_splade import main

    rate = {r"sub_modules\.query\.": 0.5}
    path = configure(**ROUTER, training__learning_rate_mapping=rate)
    with monkeypatch.context() as patch:
        patch.setattr(training_trainer.SpladeTrainer, "training_step", interrupted_at(3))
        assert main([str(path)]) == 130
    checkpoint = tmp_path / "out" / "checkpoint-2"
    assert {"splade_router.py", "modeling_gptbert.py"} <= {file.name for file in checkpoint.iterdir()}

    train(path)
    final = tmp_path / "out" / "out-final"
    steps = [entry["step"] for entry in log(tmp_path / "out" / "checkpoint-4") if "loss" in entry]
    assert steps == [1, 2, 3, 4]
    SparseEncoder(str(checkpoint), trust_remote_code=True, device="cpu")
    model = SparseEncoder(str(final), trust_remote_code=True, device="cpu")
    [static] = [module for module in model.modules() if isinstance(module, SparseStaticEmbedding)]
    assert (static.weight - 1).abs().max() > 0.1, "the query weights have a learning rate of their own"
    query = model.encode_query(TEXTS[:1], convert_to_sparse_tensor=False)
    ids = static.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    assert sorted(query[0].nonzero().flatten().tolist()) == sorted(set(ids))
    documents = model.encode_document(TEXTS, convert_to_sparse_tensor=False)
    assert documents.shape == (2, query.shape[1])

    goes_on = {"training__output_dir": str(tmp_path / "on"), "training__max_steps": 2}
    train(configure(**ROUTER, **goes_on, model__base_model=str(final)))
    assert same_code(tmp_path / "on" / "on-final", final)
    assert main([str(configure(**goes_on, model__base_model=str(final)))]) == 2, "it is no plain SPLADE model"

    model.save_pretrained(str(tmp_path / "saved-again"))
    again = SparseEncoder(str(tmp_path / "saved-again"), trust_remote_code=True, device="cpu")
    assert torch.equal(again.encode_document(TEXTS, convert_to_sparse_tensor=False), documents)


def same_code(one: Path, other: Path) -> bool:
    names = [sorted(path.name for path in folder.glob("*.py")) for folder in (one, other)]
    return names[0] == names[1] and all((one / name).read_bytes() == (other / name).read_bytes() for name in names[0])


def interrupted_at(step: int, error: BaseException | None = None) -> Callable[..., torch.Tensor]:
    """A training step that stops the run with an error, or with Ctrl-C."""
    from training_trainer import SpladeTrainer

    original = SpladeTrainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.state.global_step + 1 == step:
            raise error or KeyboardInterrupt
        return original(self, *args, **kwargs)

    return training_step


def test_gradient_checkpointing_changes_no_loss(configure: Configure, tmp_path: Path) -> None:
    losses = []
    for wanted in (False, True):
        out = tmp_path / f"out-{wanted}"
        steps = {"training__max_steps": 2, "training__output_dir": str(out)}
        train(configure(**steps, training__activation_checkpointing=wanted))
        losses.append([entry["loss"] for entry in log(out / "checkpoint-2") if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
def test_two_processes_of_accelerate_launch_share_the_rows_and_push_one_model(
    hub: LocalHub, configure: Configure, tmp_path: Path
) -> None:
    """DistributedDataParallel on two CPU processes (gloo), with gradient checkpointing."""
    snapshot = resolve(str(MINI))
    plan = make_plan(snapshot, Options(checkpointing=True))
    base = patch_model(plan, snapshot, tmp_path / "base", None).folder
    push = {"training__push_to_hub": True, "training__hub_model_id": "ola/trained"}
    epoch = {"training__max_steps": -1, "training__num_train_epochs": 1, "train__max_rows": 24}
    path = configure(model__base_model=str(base), training__activation_checkpointing=True, **push, **epoch)
    env = client_env(hub.endpoint, tmp_path / "home", OLA) | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    more = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(free_port())]
    done = subprocess.run(
        [sys.executable, *launch, *more, str(SCRIPT), str(path)],
        env=env | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("dot_ndcg@10 ") == 1, "one process prints the result"
    out = tmp_path / "out"
    assert figures(out)["steps"] == 3, "24 rows: each step took a batch of 4 for each of the two processes"
    state = json.loads((out / "checkpoint-3" / "trainer_state.json").read_text("utf-8"))
    assert state["epoch"] == 1
    assert (out / "out-final" / "model.safetensors").is_file()
    assert len(list(out.glob("*/README.md"))) == 3, "a card for each checkpoint and one for the model"
    assert len(hub.commits("ola/trained")) == 2, "the first commit made the repository, and one push followed"
    assert done.stderr.count("train: 100 read, 24 trained on") == 1
