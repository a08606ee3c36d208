"""Keys of earlier configurations, and those that people write in another section: each is read as its present name."""

from __future__ import annotations

from typing import Any

ALIASES = {
    "training.epochs": "training.num_train_epochs",
    "training.batch_size": "training.per_device_train_batch_size",
    "training.warmup_ratio": "training.warmup_steps",
    "training.resume": "training.resume_from_checkpoint",
    "training.max_seq_length": "model.max_seq_length",
    "training.query_regularizer_weight": "loss.query_regularizer_weight",
    "training.document_regularizer_weight": "loss.document_regularizer_weight",
    "training.early_stopping_patience": "evaluation.early_stopping_patience",
    "training.early_stopping_threshold": "evaluation.early_stopping_threshold",
    "hub.push_to_hub": "training.push_to_hub",
    "hub.repo_id": "training.hub_model_id",
    "hub.private": "training.hub_private_repo",
}
QUERY_WEIGHTS = r"sub_modules\.query\."


def modernize(raw: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The configuration with its present keys, and a note on each that was renamed. Unknown keys stay as they are."""
    raw = {name: dict(found) if isinstance(found, dict) else found for name, found in raw.items()}
    notes = []
    if isinstance(raw.get("data"), dict) and "datasets" not in raw:
        raw["datasets"] = _sets(raw.pop("data"))
        notes.append("data is now datasets, a list of sets")
    training = raw.get("training")
    if isinstance(training, dict):
        if training.get("max_steps") == 0:
            del training["max_steps"]
        if training.get("gradient_checkpointing") is False:
            del training["gradient_checkpointing"]  # to the library False is deprecated, and leaving it out is not
        if "batch_size" in training:
            training.setdefault("per_device_eval_batch_size", training["batch_size"])
        rate = training.pop("query_learning_rate", None)
        if rate is not None:
            notes.append("training.query_learning_rate is now training.learning_rate_mapping")
            if isinstance(raw.get("model"), dict) and raw["model"].get("use_router"):
                training.setdefault("learning_rate_mapping", {QUERY_WEIGHTS: rate})
    for old, new in ALIASES.items():
        section, key = old.split(".")
        if isinstance(raw.get(section), dict) and key in raw[section]:
            at, name = new.split(".")
            value = raw[section].pop(key)
            if not isinstance(raw.get(at) or {}, dict):
                continue
            raw[at] = {name: value, **(raw.get(at) or {})}
            notes.append(f"{old} is now {new}")
    if raw.get("hub") in ({}, None):
        raw.pop("hub", None)
    return raw, tuple(notes)


def _sets(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Today's sets behind the earlier section `data`, whose evaluation rows are a set that is held out as a whole."""
    columns = data.pop("columns", None) or ["query", "positive", "negative"]
    roles: Any = columns
    if isinstance(columns, list) and len(columns) > 1:
        roles = {"query": columns[0], "positive": columns[1], "negatives": columns[2:]}
    held = data.pop("eval", None), data.pop("eval_split", "test")
    train = {"name": "train", "columns": roles}
    for old, new in (("train", "source"), ("train_split", "split"), ("train_filter", "filter")):
        if old in data:
            train[new] = data.pop(old)
    sets = [{**train, **data}]
    if held[0] is not None:
        sets.append({"name": "eval", "source": held[0], "split": held[1], "columns": roles, "eval_share": 1})
    return sets
