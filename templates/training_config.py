"""Reads the configuration of a training: every key known, of its type and in its range, before anything is loaded.

The section `training` holds the fields of sentence-transformers' SparseEncoderTrainingArguments by their own names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from training_aliases import modernize

from patcher.errors import UsageError


@dataclass(frozen=True)
class Model:
    """The base, and what is built on it."""

    base_model: str
    trust_remote_code: bool = False
    architecture: str = "splade"
    pooling_strategy: str = "max"
    use_router: bool = False
    max_seq_length: int = 256


@dataclass(frozen=True)
class Loss:
    """SpladeLoss or CachedSpladeLoss around the loss `base`, whose own arguments stand in `options`."""

    type: str = "SpladeLoss"
    base: str = "SparseMultipleNegativesRankingLoss"
    options: dict[str, Any] = field(default_factory=dict)
    query_regularizer_weight: float = 5e-5
    document_regularizer_weight: float = 1e-3
    regularizer_scheduler: str = "quadratic"
    regularizer_warmup_ratio: float = 1 / 3
    mini_batch_size: int = 32


@dataclass(frozen=True)
class Columns:
    """The columns of a set by their role. A column of `negatives` holds a text, or a list of texts."""

    query: str = "query"
    positive: str = "positive"
    negatives: list[str] = field(default_factory=list)
    score: str | None = None


@dataclass(frozen=True)
class DataSet:
    """One set of training rows: a file (.jsonl, .json, .parquet, .csv, .tsv), or a data set on the Hub."""

    source: str
    name: str = ""
    configuration: str | None = None
    split: str = "train"
    columns: Columns = Columns()
    filter: dict[str, Any] = field(default_factory=dict)
    language: list[str] = field(default_factory=list)
    max_rows: int | None = None
    max_negatives: int | None = None
    eval_share: float = 0.0
    loss: Loss | None = None


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated beside the held-out shares of the sets, and when the training stops for it."""

    bundled_questions: bool = False
    beir: list[str] = field(default_factory=list)
    nanobeir: list[str] = field(default_factory=list)
    nanobeir_id: str = "sentence-transformers/NanoBEIR-en"
    early_stopping_patience: int | None = None
    early_stopping_threshold: float = 0.0


@dataclass(frozen=True)
class Config:
    """A configuration. `training` holds the arguments that differ from the library's defaults."""

    model: Model
    datasets: list[DataSet]
    training: dict[str, Any]
    loss: Loss = Loss()
    evaluation: Evaluation = Evaluation()
    notes: tuple[str, ...] = ()

    @property
    def output_dir(self) -> Path:
        return Path(self.training["output_dir"])

    @property
    def final(self) -> Path:
        """The folder of the trained model: transformers keeps remote code by its name, so it has one of its own."""
        return self.output_dir / f"{self.output_dir.absolute().name}-final"

    @property
    def written(self) -> dict[str, Any]:
        """The configuration as it is written beside the checkpoints; it can be read again."""
        written: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del written["notes"]
        return written

    def loss_of(self, data: DataSet) -> Loss:
        return data.loss or self.loss


def whole_checkpoints(out: Path) -> list[Path]:
    """The checkpoints that were written to their end, in order: trainer_state.json is their last file."""
    found = [path.parent for path in out.glob("checkpoint-*/trainer_state.json")]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


# Where a training of a sparse retriever needs something else than the library's own default.
DEFAULTS: dict[str, Any] = {
    "seed": 42,
    "num_train_epochs": 1.0,
    "learning_rate": 2e-5,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 16,
    "warmup_steps": 0.1,
    "batch_sampler": "no_duplicates",  # a passage that answers two queries of a batch would count as wrong for one
    "logging_steps": 50,
    "logging_nan_inf_filter": False,  # it replaces a loss that is not finite by the mean of the others
    "eval_strategy": "steps",
    "eval_steps": 500,
    "save_strategy": "steps",
    "save_steps": 500,
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "hub_strategy": "end",
    "hub_private_repo": "true",
    "report_to": ["none"],
    "restore_callback_states_from_checkpoint": True,  # a resumed run does not forget how patient it has been
}
CHOICES = {
    "architecture": ("splade", "inference-free-splade"),
    "pooling_strategy": ("max", "sum"),
    "type": ("SpladeLoss", "CachedSpladeLoss"),
    "base": ("SparseMultipleNegativesRankingLoss", "SparseMarginMSELoss", "SparseDistillKLDivLoss"),
    "regularizer_scheduler": ("linear", "quadratic"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
}
ABOVE_ZERO = {
    *("learning_rate", "num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size"),
    *("gradient_accumulation_steps", "logging_steps", "eval_steps", "save_steps"),
}
MAY_BE_ZERO = {"query_regularizer_weight", "document_regularizer_weight", "eval_share", "early_stopping_threshold"}
WORDS = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 2e-5, which has no dot, as a text."""


_Loader.yaml_implicit_resolvers = {key: list(found) for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the YAML file, then apply overrides of the form `--section.key=value`. Raises UsageError."""
    try:
        raw = yaml.load(path.read_text("utf-8"), _Loader)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.", "Pass the path of a configuration.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path} is not valid YAML: {reason}.", "Fix that line.") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{path} holds no sections.", "Write `model:`, `datasets:` and `training:`.")
    for override in overrides:
        _override(raw, override)
    raw, notes = modernize(raw)
    known("section", raw, [one.name for one in fields(Config) if one.name != "notes"])
    training = training_values(raw.pop("training", None) or {})
    config = _read("", {**raw, "training": training, "notes": notes}, Config)
    return _checked(_named(config))


def _override(raw: dict[str, Any], override: str) -> None:
    """Set one key; an item of a list is named by its number or by its `name`: --datasets.nli.max_rows=9."""
    key, equals, value = override.removeprefix("--").partition("=")
    *path, last = key.split(".")
    at: Any = raw
    for step in path:
        if isinstance(at, list):
            named = [
                one for index, one in enumerate(at) if step in (str(index), isinstance(one, dict) and one.get("name"))
            ]
            at = named[0] if named else None
        else:
            at = at.setdefault(step, {}) if isinstance(at, dict) else None
    if not (equals and path and override.startswith("--") and isinstance(at, dict)):
        raise UsageError(f"{override} sets no key.", "Write --section.key=value, as in --training.num_train_epochs=2.")
    try:
        at[last] = yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"The value of {override} is not valid YAML.", "Put it in quotes.") from error


def _named(config: Config) -> Config:
    """The same with a name for each set: that of its file, or the last part of its id."""
    named = [
        one if one.name else replace(one, name=re.sub(r"\W+", "-", Path(one.source).stem)) for one in config.datasets
    ]
    return replace(config, datasets=named)


def _checked(config: Config) -> Config:
    """What several keys have to do with each other."""
    if (config.model.architecture == "splade") == config.model.use_router:
        wanted = "false with splade, true with inference-free-splade"
        raise UsageError(f"model.use_router does not fit {config.model.architecture}.", f"Set it to {wanted}.")
    names = [one.name for one in config.datasets]
    if len(set(names)) < len(names) or not names:
        raise UsageError("datasets needs one or more entries, each with its own name.", "Set the `name` of each entry.")
    for one in config.datasets:
        loss = config.loss_of(one)
        trained = one.eval_share != 1  # what is only evaluated on needs no scores
        teacher = trained and loss.base != "SparseMultipleNegativesRankingLoss"
        if teacher and not (one.columns.score and one.columns.negatives):
            hint = "Name them in columns.score and columns.negatives."
            raise UsageError(f"datasets.{one.name}: {loss.base} needs scored passages.", hint)
    if config.training.get("push_to_hub") and not config.training.get("hub_model_id"):
        raise UsageError("training.push_to_hub is true and training.hub_model_id is empty.", "Set it to user/name.")
    return config


def training_values(given: Any) -> dict[str, Any]:
    """The section `training`: the library's own fields, checked by its own parser, over our defaults."""
    if not isinstance(given, dict):
        raise UsageError(
            "training is not a section.", "Write `training:` and its keys below it, indented by two spaces."
        )
    if not given.get("output_dir"):
        raise UsageError("training.output_dir is missing.", "Add it to the section training.")
    mode = given.pop("precision", None) or ("auto" if not {"bf16", "fp16"} & set(given) else None)
    if mode and mode not in CHOICES["precision"]:
        raise UsageError(f"training.precision is {mode!r}.", f"Choose one of {', '.join(CHOICES['precision'])}.")
    from sentence_transformers import SparseEncoderTrainingArguments
    from transformers import HfArgumentParser

    class Parser(HfArgumentParser):
        def error(self, message: str) -> Any:
            name, _, reason = message.removeprefix("argument --").partition(": ")
            name = name.partition("/")[0]  # the other spelling of the option
            raise UsageError(f"training.{name}: {reason or 'is not valid'}.", f"Fix training.{name}.")

    names = [one.name for one in fields(SparseEncoderTrainingArguments) if one.init]
    known("key", [f"training.{key}" for key in given], [f"training.{name}" for name in names])
    values = {**DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    strings = [f"--{key}={_string(value)}" for key, value in values.items() if value != []]
    parsed = vars(Parser(SparseEncoderTrainingArguments).parse_args(strings))
    values = {key: value if isinstance(value, (list, dict)) else parsed[key] for key, value in values.items()}
    for key in ABOVE_ZERO & values.keys():
        if not 0 < values[key] < 1e9:
            hint = f"Set training.{key} to a positive number."
            raise UsageError(f"training.{key} is {values[key]:g}, which is out of range.", hint)
    return values | ({"precision": mode} if mode else {})


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return "no" if value is False else "true"  # `eval_strategy: no` is false to YAML
    if isinstance(value, list):
        return _string(value[0])
    return json.dumps(value) if isinstance(value, dict) else str(value)


def known(what: str, given: Iterable[str], names: Sequence[str]) -> None:
    """Raises UsageError for a name that is not known, with the nearest that is."""
    shown = [name.rpartition(".")[2] for name in names]
    for key in map(str, given):
        if key not in names:
            parent, dot, last = key.rpartition(".")
            near = get_close_matches(last, shown, 1)
            hint = f"Did you mean {parent}{dot}{near[0]}?" if near else f"Use one of {', '.join(shown)}."
            raise UsageError(f"Unknown {what} {key}.", hint)


def _read(key: str, value: Any, kind: Any) -> Any:
    """`value` as the type `kind`; `key` is its path in the file, such as loss.type."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _section(key, value, kind)
    if type(None) in get_args(kind):
        return None if value is None else _read(key, value, get_args(kind)[0])
    if get_origin(kind) is list:
        [item] = get_args(kind)
        if not isinstance(value, list):
            if item is not str or not isinstance(value, str):
                raise UsageError(f"{key} is {value!r}, which is not a list.", f"Set {key} to a list.")
            value = [value]  # one name may stand for a list of one
        return [_read(f"{key}.{index}", one, item) for index, one in enumerate(value)]
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise UsageError(f"{key} is {value!r}, which is not a mapping.", f"Set {key} to a mapping.")
        return value
    return _plain(key, value, kind) if kind in WORDS else value


def _section(key: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, Mapping):
        raise UsageError(f"{key} is not a section.", f"Write `{key}:` and its keys below it, indented by two spaces.")
    hints, prefix = get_type_hints(kind), f"{key}." if key else ""
    known("key", [f"{prefix}{name}" for name in value], [f"{prefix}{name}" for name in hints])
    for one in fields(kind):
        if one.name not in value and one.default is MISSING and one.default_factory is MISSING:
            raise UsageError(
                f"{prefix}{one.name} is missing.", f"Add it to {f'the section {key}' if key else 'the file'}."
            )
    return kind(**{name: _read(f"{prefix}{name}", one, hints[name]) for name, one in value.items()})


def _plain(key: str, value: Any, kind: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{key} is {value!r}, which is not {WORDS[kind]}.", f"Set {key} to {WORDS[kind]}.")
    name = key.rpartition(".")[2]
    if kind in (int, float) and not (0 < value < 1e9 or (value == 0 and name in MAY_BE_ZERO)):
        raise UsageError(f"{key} is {value}, which is out of range.", f"Set {key} to a positive number.")
    if name in CHOICES and value not in CHOICES[name]:
        raise UsageError(f"{key} is {value!r}.", f"Choose one of {', '.join(CHOICES[name])}.")
    return value
