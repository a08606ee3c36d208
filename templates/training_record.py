"""What is published with a trained model: training.json, which makes it checkable, and its card."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from training_config import Config, DataSet
from training_data import FORMATS

from patcher import __version__
from patcher.codec import json_text, to_json
from patcher.constants import CARD, RECORD, SCHEMA_VERSION, TOOL, TRAINING_RECORD
from patcher.documents.templating import fence, template
from patcher.hashing import sha256_of
from patcher.patching.record import PatchedModel, load
from patcher.patching.staging import write_atomically
from patcher.source.metadata import read_metadata
from patcher.source.snapshot import Source

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

PACKAGES = ("sentence-transformers", "transformers", "torch", "accelerate", "datasets")
QUERY, DOCUMENT = "Hva er hovedstaden i Norge?", "Oslo er hovedstaden og den største byen i Norge."
SHOWN_TERMS = 8


@dataclass(frozen=True)
class Base:
    """The base on this machine: its folder, and where that came from."""

    root: Path
    source: Source

    @cached_property
    def record(self) -> PatchedModel | None:
        """What `patcher patch` or `repair` wrote of it; None for a model without that."""
        return load(self.root) if (self.root / RECORD).is_file() else None

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """Licence and languages, from the card of the model that it was patched from, or from its own."""
        path = self.root / CARD
        own = read_metadata(path.read_text("utf-8")) if path.is_file() else {}
        return (self.record.base_card if self.record else None) or own


def gather_facts(config: Config, base: Base, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """What the record says of a run before its first step: files may be edited or gone when it ends."""
    facts = {
        "schema_version": SCHEMA_VERSION,
        "command": shlex.join(map(_without_folders, [sys.executable, *sys.argv])),
        "base": {**to_json(base.source), "patched_from": to_json(base.record and base.record.source)},
        "sets": [{**_origin(one), "rows": counts[one.name]} for one in config.datasets],
        "configuration": config.written,
        "seed": config.training["seed"],
        "versions": _versions(),
    }
    return {key: _without_folders(value) for key, value in facts.items()}


def write_record(model: SparseEncoder, folder: Path, config: Config, base: Base, record: Mapping[str, Any]) -> None:
    """Write the card and training.json into the folder of the saved model.

    `record` joins what `gather_facts` found and what evaluation.json holds.
    """
    record = _without_folders(record)
    (folder / CARD).write_text(_card(model, folder.name, config, base, record), "utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != TRAINING_RECORD)
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    write_atomically(folder / TRAINING_RECORD, json_text({**record, "files": hashes}))


def _without_folders(value: Any) -> Any:
    """The same with the name of each absolute path alone: what is published does not say where it lay."""
    if isinstance(value, Mapping):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(item) for item in value]
    if isinstance(value, str):
        option, equals, path = value.rpartition("=")
        return f"{option}{equals}{Path(path).name}" if Path(path).is_absolute() else value
    return value


def _versions() -> dict[str, str]:
    """By package, as its code says: what is imported from a folder has no metadata."""
    found = {name: str(import_module(name.replace("-", "_")).__version__) for name in PACKAGES}
    return {"python": platform.python_version(), **found, TOOL: __version__}


def _origin(data: DataSet) -> dict[str, Any]:
    """Where the rows of a set came from: the hash of a file, or an id on the Hub."""
    path = Path(data.source).expanduser()
    return {
        "name": data.name,
        "source": data.source,
        "configuration": data.configuration,
        "split": data.split,
        "on_hub": not path.exists(),
        "sha256": sha256_of(path) if path.suffix in FORMATS and path.is_file() else None,
    }


def _origin_of(source: Mapping[str, Any] | None) -> tuple[str, str | None, bool] | None:
    """Id or folder, revision, and whether that is an id on the Hub; a folder may say which repository it is from."""
    if source is None:
        return None
    if source.get("repo_id"):
        return source["repo_id"], source.get("revision"), True
    if source.get("base_model"):
        return source["base_model"], source.get("base_revision"), True
    return str(source.get("path")), None, False


def _card(model: SparseEncoder, name: str, config: Config, base: Base, record: Mapping[str, Any]) -> str:
    vector = model.encode_query(QUERY, convert_to_sparse_tensor=False)
    weights, ids = vector.topk(min(SHOWN_TERMS, int((vector > 0).sum())))
    terms = [
        (model.tokenizer.decode([number]).strip(), round(weight, 2))
        for number, weight in zip(ids.tolist(), weights.tolist(), strict=True)
    ]
    hub_sets = [one["source"] for one in record["sets"] if one["on_hub"]]
    trained_from, patched_from = _origin_of(record["base"]), _origin_of(record["base"]["patched_from"])
    hub_bases = [model for model, _, on_hub in filter(None, (trained_from, patched_from)) if on_hub]
    metadata = {
        "language": base.metadata.get("language"),
        "license": base.metadata.get("license"),
        "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "base_model": next(iter(hub_bases), None),
        "base_model_relation": "finetune",
        "datasets": list(dict.fromkeys(hub_sets)),
        "tags": ["sentence-transformers", "sparse-encoder", "sparse", "splade", "custom_code"],
    }
    configuration = yaml.safe_dump(record["configuration"], sort_keys=False, allow_unicode=True).rstrip()
    values = {
        **record,
        **{"name": name, "query": QUERY, "document": DOCUMENT, "terms": terms},
        **{"trained_from": trained_from, "patched_from": patched_from, "patch": base.record},
        "metadata": yaml.safe_dump(
            {k: v for k, v in metadata.items() if v}, sort_keys=False, allow_unicode=True
        ).rstrip(),
        "repo_id": config.training.get("hub_model_id"),
        "inference_free": config.model.use_router,
        "licensed": "license" in base.metadata,
        "dimensions": len(vector),
        "configuration": configuration,
        "fence": fence(configuration),
    }
    return template("trained_card.md.jinja").render(values)
