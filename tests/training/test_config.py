"""The configuration: what is read, what is refused, and in which words."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from patcher.errors import UsageError
from tests.conftest import ROOT
from tests.training.conftest import Configure

TEMPLATE = ROOT / "templates" / "training_config.yaml"


def refusal(path: Path, *overrides: str) -> UsageError:
    from training_config import read_config

    with pytest.raises(UsageError) as caught:
        read_config(path, overrides)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def test_the_template_is_read_and_names_every_key() -> None:
    from training_config import read_config

    written = yaml.safe_load(TEMPLATE.read_text("utf-8"))
    read = asdict(read_config(TEMPLATE))
    assert {section: set(keys) for section, keys in written.items()} == {s: set(keys) for s, keys in read.items()}


def test_the_template_explains_every_key_in_its_line() -> None:
    lines = [line for line in TEMPLATE.read_text("utf-8").splitlines() if line.startswith("  ")]
    assert lines and all(re.search(r"\S # \S", line) for line in lines)


def test_a_number_without_a_dot_is_a_number(configure: Configure) -> None:
    from training_config import read_config

    path = configure()
    path.write_text(path.read_text("utf-8").replace("learning_rate: 0.001", "learning_rate: 2e-5"), "utf-8")
    assert isinstance(yaml.safe_load(path.read_text("utf-8"))["training"]["learning_rate"], str)
    assert read_config(path).training.learning_rate == 2e-5


def test_an_override_wins_over_the_file(configure: Configure) -> None:
    from training_config import read_config

    config = read_config(configure(), ["--training.epochs=2", "--model.pooling_strategy=sum", "--data.eval=null"])
    assert (config.training.epochs, config.model.pooling_strategy, config.data.eval) == (2.0, "sum", None)


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"training__epoch": 1}, "Unknown key training.epoch.", "Did you mean training.epochs?"),
        ({"training__batch_size": "many"}, "training.batch_size is 'many', which is not a whole number.", "Give"),
        ({"training__batch_size": True}, "training.batch_size is True, which is not a whole number.", "Give"),
        ({"training__batch_size": 0}, "training.batch_size is 0, which is out of range.", "a positive number"),
        ({"training__learning_rate": float("nan")}, "training.learning_rate is nan", "a positive number"),
        ({"training__resume": "ja"}, "training.resume is 'ja', which is not true or false.", "true or false"),
        ({"training__precision": "fp8"}, "training.precision is 'fp8'.", "auto, fp32, bf16, fp16"),
        ({"model__base_model": None}, "model.base_model is None, which is not a text.", "Give model.base_model"),
        ({"model__pooling_strategy": "mean"}, "model.pooling_strategy is 'mean'.", "max, sum"),
        ({"model__use_router": True}, "model.use_router does not fit splade.", "false with splade"),
        ({"model__architecture": "inference-free-splade"}, "model.use_router does not fit", "true with inference-free"),
        ({"data__columns": ["query"]}, "data.columns is no list of two names or more.", "the query's"),
        ({"data__train_filter": "norwegian"}, "data.train_filter is 'norwegian', which is not a mapping.", "Give"),
        ({"hub__push_to_hub": True}, "hub.push_to_hub is true and hub.repo_id is empty.", "user/name"),
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
        ("just a line", "Unknown section"),
        ("modell: {}", "Unknown section modell."),
        ("model: [1]", "model is not a section."),
        ("model: {}\ndata: {train: x}", "model.base_model is missing."),
        ("model: {base_model: x}\ndata: {train: x}", "training.output_dir is missing."),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    assert message in refusal(path).message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "can't be read: No such file" in refusal(tmp_path / "none.yaml").message


@pytest.mark.parametrize("override", ["--epochs=2", "--training.epochs", "training.epochs=2", "--nothing.epochs=2"])
def test_an_override_that_sets_no_key_is_refused(configure: Configure, override: str) -> None:
    assert refusal(configure(), override).message == f"{override} sets no key."
