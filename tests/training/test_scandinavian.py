"""The Scandinavian configuration as it stands, with local miniatures of the same columns in place of its data sets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load

from tests.conftest import ROOT
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env, hub
from tests.snapshots.corpus.pairs import pairs
from tests.training.conftest import write_nano_beir
from tests.training.test_train import SCRIPT, figures, log, weights

__all__ = ["hub"]

CONFIG = ROOT / "templates" / "configs" / "scandinavian.yaml"
ROWS = 40
Pair = dict[str, Any]


def nordic(number: int, pair: Pair) -> Pair:
    """Three rows of five have no negative, as in the set itself."""
    language = ("norwegian", "danish", "swedish", "english")[number % 4]
    negative = pair["negative"] if number % 5 < 2 else None
    more = {"instruction": "", "task": "retrieval", "language": language, "prompt": "", "response": ""}
    return {"query": pair["query"], "positive": pair["positive"], "negative": negative, **more}


def question(_: int, pair: Pair) -> Pair:
    answers = {"answer_start": [0], "text": [pair["positive"][:9]]}
    return {"id": "1", "context": pair["positive"], "question": pair["query"], "answers": answers}


def fact(_: int, pair: Pair) -> Pair:
    return {"question_stem": pair["query"], "fact": pair["positive"], "answer": "A"}


def triplet(_: int, pair: Pair) -> Pair:
    return {"anchor": pair["query"], "positive": pair["positive"], "negative": pair["negative"]}


COLUMNS: dict[str, Callable[[int, Pair], Pair]] = {
    **{"Fremtind/all-nli-norwegian": triplet, "DDSC/nordic-embedding-training-data": nordic},
    **{"ltg/norquad": question, "ltg/noropenbookqa": fact, "alexandrainst/scandi-qa": question},
}


def miniature(folder: Path, source: str, configurations: list[str | None]) -> Path:
    """A folder that is laid out as the data set's repository is, with the configurations that are asked for."""
    folder.mkdir()
    rows = [COLUMNS[source](number, pair) for number, pair in enumerate(islice(pairs("train"), ROWS))]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    data = [{"split": "train", "path": "rows.jsonl"}]
    configs = [{"config_name": name or "default", "data_files": data} for name in configurations]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n", "utf-8")
    return folder


def overrides(out: Path) -> list[str]:
    """The sources, what needs a GPU, and a length of steps instead of thousands."""
    sets = yaml.safe_load(CONFIG.read_text("utf-8"))["datasets"]
    found = {}
    for number, source in enumerate(dict.fromkeys(one["source"] for one in sets)):
        configurations = [one.get("configuration") for one in sets if one["source"] == source]
        folder = miniature(out / f"data-{number}", source, configurations)
        found |= {f"datasets.{one['name']}.source": folder for one in sets if one["source"] == source}
    found["datasets.nli.eval_share"] = found["datasets.nordic.eval_share"] = 0.1
    gpu = {"bf16": "false", "tf32": "null", "dataloader_num_workers": 0, "dataloader_prefetch_factor": "null"}
    # TensorBoard and MLflow are not among the packages that the tests need.
    length = {"eval_steps": 2, "save_steps": 2, "logging_steps": 1, "report_to": "none"}
    where = {"output_dir": out / "run", "hub_model_id": "ola/scandinavian"}
    found |= {f"training.{key}": value for key, value in {**gpu, **length, **where}.items()}
    found["evaluation.nanobeir_id"] = write_nano_beir(out / "nano")
    return [f"--{key}={value}" for key, value in found.items()]


def test_it_trains_on_seven_sets_stops_early_keeps_the_best_and_pushes_it(
    hub: LocalHub, bases: dict[str, Path], tmp_path: Path
) -> None:
    hub.seed("thivy/norbert4-base-splade", bases["patched"])
    env = client_env(hub.endpoint, tmp_path / "home", OLA)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "scandinavian", *overrides(tmp_path)],
        env=env | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / "run"
    found = figures(out)
    assert found["metric"] == "NanoBEIR_mean_dot_ndcg@10"
    scores = [entry[found["metric"]] for entry in found["during"]]
    assert found["best_step"] == found["during"][scores.index(max(scores))]["step"]
    assert found["steps"] == found["best_step"] + 3 * 2, "three evaluations without a better score end it"
    entries = log(out / f"checkpoint-{found['steps']}")
    assert entries[-1]["epoch"] < 1, "there were more rows"
    assert found["rows"]["nordic"]["not matching"] == ROWS // 4
    assert found["rows"]["nordic"]["filled up with passages of other rows"] > 0
    assert set(found["rows"]) == {one["name"] for one in yaml.safe_load(CONFIG.read_text("utf-8"))["datasets"]}
    assert {"dot_ndcg@10", "nordic_dot_ndcg@10", "bundled_dot_ndcg@10"} <= set(found["after"])

    pushed = load(hub.read("ola/scandinavian", "model.safetensors"))
    best = weights(out / f"checkpoint-{found['best_step']}")
    assert all(torch.equal(tensor, best[f"model.safetensors/{name}"]) for name, tensor in pushed.items())
    assert {"modeling_gptbert.py", "modules.json", "README.md"} <= set(hub.files("ola/scandinavian"))
    revision = json.loads(hub.read("ola/scandinavian", "training.json"))["base"]["revision"]
    card = hub.read("ola/scandinavian", "README.md").decode()
    assert "\nbase_model: thivy/norbert4-base-splade\n" in card
    assert f"# It comes with its own code, that of thivy/norbert4-base-splade at {revision}; read it" in card

    for words in (["publish", str(out / "run-final"), "ola/again", "--yes"], ["check", "ola/again"]):
        done = subprocess.run(
            [sys.executable, "-m", "patcher", *words],
            env=env | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert load(hub.read("ola/again", "model.safetensors")).keys() == pushed.keys()
