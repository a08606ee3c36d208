"""The configuration: what is read, what is refused, and in which words."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from patcher.errors import UsageError
from tests.conftest import ROOT
from tests.training.conftest import Configure

TEMPLATE = ROOT / "templates" / "training_config.yaml"
CONFIGS = sorted((ROOT / "templates" / "configs").glob("*.yaml"))
EARLIER = """
model: {base_model: x, trust_remote_code: true, use_router: true, architecture: inference-free-splade}
data:
  train: rows.jsonl
  train_filter: {language: norwegian}
  eval: held.jsonl
  columns: [anchor, positive, negative]
training:
  output_dir: out
  epochs: 2
  max_steps: 0
  batch_size: 8
  learning_rate: 2e-5
  query_learning_rate: 1e-2
  warmup_ratio: 0.2
  document_regularizer_weight: 3e-3
  max_seq_length: 64
  precision: fp32
  gradient_checkpointing: false
  early_stopping_patience: 3
hub: {push_to_hub: false, repo_id: null, private: false}
"""


def refusal(path: Path, *overrides: str) -> UsageError:
    from training_config import read_config

    with pytest.raises(UsageError) as caught:
        read_config(path, overrides)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def names(section: Any) -> set[str]:
    return set(section) if isinstance(section, dict) else set()


def test_the_template_is_read_and_names_every_key_of_our_own() -> None:
    from training_config import read_config

    written = yaml.safe_load(TEMPLATE.read_text("utf-8"))
    read = asdict(read_config(TEMPLATE))
    for section in ("model", "loss", "evaluation"):
        assert names(written[section]) == names(read[section])
    assert names(written["datasets"][0]) == names(read["datasets"][0])
    assert not read["notes"]


def test_the_template_explains_every_key_in_its_line() -> None:
    lines = [line for line in TEMPLATE.read_text("utf-8").splitlines() if line.startswith("  ")]
    assert lines and all(re.search(r"\S # \S", line) for line in lines)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_configuration_is_read_and_says_what_it_was_run_on(path: Path) -> None:
    from training_config import read_config

    assert not read_config(path).notes
    comment = " ".join(line for line in path.read_text("utf-8").splitlines() if line.startswith("# "))
    assert re.search(r"\b(Not run|Run)\b", comment)


def test_every_field_of_the_library_is_taken_by_its_own_name_and_type(configure: Configure) -> None:
    from training_config import read_config

    given = {
        **{"optim": "adafactor", "lr_scheduler_type": "cosine", "weight_decay": 0.01, "dataloader_num_workers": 2},
        **{"report_to": ["tensorboard", "mlflow"], "eval_strategy": False, "torch_compile": True, "tf32": "no"},
        **{"ddp_find_unused_parameters": False, "hub_strategy": "checkpoint", "prompts": {"query": "spørsmål: "}},
        **{"learning_rate_mapping": {"a": 1e-2}, "bf16": True, "multi_dataset_batch_sampler": "round_robin"},
    }
    read = read_config(configure(**{f"training__{key}": value for key, value in given.items()})).training
    assert read["report_to"] == ["tensorboard", "mlflow"]
    assert (read["weight_decay"], read["dataloader_num_workers"], read["tf32"]) == (0.01, 2, False)
    assert (read["eval_strategy"], read["ddp_find_unused_parameters"], read["bf16"]) == ("no", False, True)
    assert read["learning_rate_mapping"] == {"a": 1e-2}
    assert read["logging_nan_inf_filter"] is False
    assert "precision" not in read, "the library's own keys say which"


def test_a_number_without_a_dot_is_a_number(configure: Configure) -> None:
    from training_config import read_config

    path = configure(loss__query_regularizer_weight=1e-3)
    path.write_text(re.sub(r": 0\.001", ": 1e-3", path.read_text("utf-8")), "utf-8")
    assert isinstance(yaml.safe_load(path.read_text("utf-8"))["training"]["learning_rate"], str)
    config = read_config(path)
    assert (config.training["learning_rate"], config.loss.query_regularizer_weight) == (1e-3, 1e-3)


def test_an_override_wins_over_the_file(configure: Configure) -> None:
    from training_config import read_config

    overrides = ["--training.num_train_epochs=2", "--model.pooling_strategy=sum", "--datasets.eval.max_rows=5"]
    config = read_config(configure(), [*overrides, "--datasets.0.loss.base=SparseMultipleNegativesRankingLoss"])
    assert (config.training["num_train_epochs"], config.model.pooling_strategy) == (2.0, "sum")
    assert [one.max_rows for one in config.datasets] == [None, 5]
    assert config.datasets[0].loss is not None


def test_a_configuration_of_earlier_keys_is_read_and_each_renamed_key_is_named(tmp_path: Path) -> None:
    from training_config import read_config

    path = tmp_path / "config.yaml"
    path.write_text(EARLIER, "utf-8")
    config = read_config(path)
    train, held = config.datasets
    assert (train.source, train.filter, train.columns.negatives) == (
        "rows.jsonl",
        {"language": "norwegian"},
        ["negative"],
    )
    assert (held.source, held.eval_share, held.columns.query, held.split) == ("held.jsonl", 1, "anchor", "test")
    read = config.training
    assert (read["num_train_epochs"], read["warmup_steps"], "max_steps" in read) == (2.0, 0.2, False)
    assert (read["per_device_train_batch_size"], read["per_device_eval_batch_size"]) == (8, 8)
    assert (config.model.max_seq_length, config.loss.document_regularizer_weight) == (64, 3e-3)
    assert (config.evaluation.early_stopping_patience, read["hub_private_repo"]) == (3, False)
    assert "training.epochs is now training.num_train_epochs" in config.notes
    assert "data is now datasets, a list of sets" in config.notes


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"training__num_epochs": 1}, "Unknown key training.num_epochs.", "Did you mean training.num_train_epochs?"),
        ({"training__bf_16": 1}, "Unknown key training.bf_16.", "Did you mean training.bf16?"),
        ({"training__num_train_epochs": "many"}, "training.num_train_epochs: invalid float value: 'many'.", "Fix"),
        ({"training__bf16": "ja"}, "training.bf16: Truthy value expected: got ja", "Fix training.bf16."),
        ({"training__batch_sampler": "unique"}, "training.batch_sampler: invalid choice: 'unique'", "Fix"),
        ({"training__per_device_train_batch_size": 0}, "is 0, which is out of range.", "a positive number"),
        ({"training__learning_rate": float("nan")}, "training.learning_rate is nan", "a positive number"),
        ({"training__precision": "fp8"}, "training.precision is 'fp8'.", "auto, fp32, bf16, fp16"),
        ({"training__push_to_hub": True}, "training.push_to_hub is true and training.hub_model_id is empty.", "user"),
        ({"model__base_model": None}, "model.base_model is None, which is not a string.", "Set model.base_model"),
        ({"model__pooling_strategy": "mean"}, "model.pooling_strategy is 'mean'.", "max, sum"),
        ({"model__use_router": True}, "model.use_router does not fit splade.", "false with splade"),
        ({"model__architecture": "inference-free-splade"}, "model.use_router does not fit", "true with inference-free"),
        ({"loss__base": "CosineLoss"}, "loss.base is 'CosineLoss'.", "SparseMarginMSELoss"),
        ({"loss__query_regularizer_weight": True}, "loss.query_regularizer_weight is True, which is not", "Set"),
        ({"loss__mini_batch_size": 0}, "loss.mini_batch_size is 0, which is out of range.", "a positive number"),
        (
            {"loss": {"base": "SparseMarginMSELoss"}},
            "datasets.train: SparseMarginMSELoss needs scored passages",
            "columns",
        ),
        ({"train__colums": {}}, "Unknown key datasets.0.colums.", "Did you mean datasets.0.columns?"),
        ({"train__columns": {"anchor": "a"}}, "Unknown key datasets.0.columns.anchor.", "query, positive"),
        ({"train__filter": "norwegian"}, "datasets.0.filter is 'norwegian', which is not a mapping.", "Set"),
        ({"train__name": "eval"}, "datasets needs one or more entries, each with its own name.", "Set the `name`"),
        ({"train__source": 3}, "datasets.0.source is 3, which is not a string.", "Set"),
        ({"datasets": []}, "datasets needs one or more entries", "Set the `name`"),
        ({"datasets": "rows.jsonl"}, "datasets is 'rows.jsonl', which is not a list.", "Set datasets to a list."),
        ({"evaluation__beir": {"a": 1}}, "evaluation.beir is {'a': 1}, which is not a list.", "Set"),
        ({"evaluation__nano": True}, "Unknown key evaluation.nano.", "Did you mean evaluation.nanobeir?"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(
    configure: Configure, changes: dict[str, object], message: str, hint: str
) -> None:
    error = refusal(configure(**changes))
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {base_model: x", "is not valid YAML"),
        ("just a line", "holds no sections."),
        ("modell: {}", "Unknown section modell."),
        ("1: {}", "Unknown section 1."),
        ("model: [1]\ndatasets: []\ntraining: {output_dir: x}", "model is not a section."),
        ("model: {}\ndatasets: [{source: x}]\ntraining: {output_dir: x}", "model.base_model is missing."),
        ("model: {base_model: x}\ntraining: {output_dir: x}", "datasets is missing."),
        ("model: {base_model: x}\ndata: {train: x}", "training.output_dir is missing."),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    assert message in refusal(path).message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "can't be read: No such file" in refusal(tmp_path / "none.yaml").message


@pytest.mark.parametrize(
    "override", ["--epochs=2", "--training.max_steps", "training.max_steps=2", "--datasets.none.max_rows=2"]
)
def test_an_override_that_sets_no_key_is_refused(configure: Configure, override: str) -> None:
    assert refusal(configure(), override).message == f"{override} sets no key."


def test_an_override_of_another_form_is_refused(configure: Configure) -> None:
    assert refusal(configure(), "--model.base_model=[").message.endswith("is not valid YAML.")
