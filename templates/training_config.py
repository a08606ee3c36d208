"""Reads training_config.yaml: every key known, of its type and in its range, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from patcher.errors import UsageError


@dataclass(frozen=True)
class Model:
    base_model: str
    trust_remote_code: bool = False
    architecture: str = "splade"
    pooling_strategy: str = "max"
    use_router: bool = False


@dataclass(frozen=True)
class Data:
    train: str
    train_split: str = "train"
    train_filter: dict = field(default_factory=dict)
    eval: str | None = None
    eval_split: str = "test"
    columns: list = field(default_factory=lambda: ["query", "positive", "negative"])


@dataclass(frozen=True)
class Training:
    output_dir: str
    epochs: float = 1.0
    max_steps: int = 0
    batch_size: int = 16
    learning_rate: float = 2e-5
    query_learning_rate: float = 1e-3
    warmup_ratio: float = 0.1
    query_regularizer_weight: float = 5e-5
    document_regularizer_weight: float = 1e-3
    max_seq_length: int = 256
    precision: str = "auto"
    seed: int = 42
    gradient_checkpointing: bool = False
    gradient_accumulation_steps: int = 1
    logging_steps: int = 50
    eval_steps: int = 500
    save_steps: int = 500
    resume: bool = True


@dataclass(frozen=True)
class Hub:
    push_to_hub: bool = False
    repo_id: str | None = None
    private: bool = True


@dataclass(frozen=True)
class Config:
    model: Model
    data: Data
    training: Training
    hub: Hub


CHOICES = {
    "model.architecture": ("splade", "inference-free-splade"),
    "model.pooling_strategy": ("max", "sum"),
    "training.precision": ("auto", "fp32", "bf16", "fp16"),
}
MAY_BE_ZERO = {"max_steps", "warmup_ratio", "query_regularizer_weight", "document_regularizer_weight", "seed"}
WORDS = {
    **{bool: "true or false", int: "a whole number", float: "a number"},
    **{str: "a text", list: "a list", dict: "a mapping"},
}


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the YAML file, then apply overrides of the form `--section.key=value`. Raises UsageError."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.", "Give the path of a configuration.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path} is not valid YAML: {reason}.", "Mend that line.") from error
    sections = {item.name: get_type_hints(Config)[item.name] for item in fields(Config)}
    raw = {name: {} for name in sections} | (raw if isinstance(raw, dict) else {str(path): raw})
    for override in overrides:
        key, equals, value = override.removeprefix("--").partition("=")
        section, _, name = key.partition(".")
        if not equals or not name or not override.startswith("--") or not isinstance(raw.get(section), dict):
            raise UsageError(f"{override} sets no key.", "Write --section.key=value, as in --training.epochs=2.")
        raw[section][name] = yaml.safe_load(value)
    _known("section", list(raw), list(sections))
    config = Config(**{name: _section(name, raw[name], kind) for name, kind in sections.items()})
    if (config.model.architecture == "splade") == config.model.use_router:
        wanted = "false with splade, true with inference-free-splade"
        raise UsageError(f"model.use_router does not fit {config.model.architecture}.", f"Set it to {wanted}.")
    if len(config.data.columns) < 2 or not all(isinstance(name, str) for name in config.data.columns):
        raise UsageError("data.columns is no list of two names or more.", "Name the query's first, then the passage's.")
    if config.hub.push_to_hub and not config.hub.repo_id:
        raise UsageError("hub.push_to_hub is true and hub.repo_id is empty.", "Set hub.repo_id to user/name.")
    return config


def _section(name: str, values: Any, kind: type) -> Any:
    if not isinstance(values, dict):
        raise UsageError(f"{name} is not a section.", f"Write `{name}:` and its keys below it, two spaces in.")
    hints = get_type_hints(kind)
    _known("key", [f"{name}.{key}" for key in values], [f"{name}.{key}" for key in hints])
    try:
        return kind(**{key: _value(f"{name}.{key}", value, hints[key]) for key, value in values.items()})
    except TypeError as error:
        missing = [f"{name}.{key}" for key in list(hints)[:1] if key not in values]
        raise UsageError(f"{missing[0]} is missing.", f"Add it to the section {name}.") from error


def _known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Use {', '.join(known)}."
            raise UsageError(f"Unknown {what} {key}.", hint)


def _value(key: str, value: Any, kind: Any) -> Any:
    if kind == str | None:
        if value is None:
            return None
        kind = str
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with suppress(ValueError):
            value = float(value)  # YAML 1.1 reads 2e-5, which has no dot, as a text
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{key} is {value!r}, which is not {WORDS[kind]}.", f"Give {key} {WORDS[kind]}.")
    if kind in (int, float) and not (0 < value < 1e9 or (value == 0 and key.split(".")[1] in MAY_BE_ZERO)):
        raise UsageError(f"{key} is {value}, which is out of range.", f"Give {key} a positive number.")
    if key in CHOICES and value not in CHOICES[key]:
        raise UsageError(f"{key} is {value!r}.", f"Choose one of {', '.join(CHOICES[key])}.")
    return value
