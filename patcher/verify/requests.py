"""Lays out what a child of a verification reads, and makes its request."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from patcher.constants import CONFIG, CONTEXT_KEYS, TOOL, WEIGHTS
from patcher.errors import OutputError
from patcher.hashing import sha256_of
from patcher.patching.record import SENTENCE, SPARSE, FileRecord, PatchedModel, apply_changes
from patcher.planning.layout import MODULES
from patcher.soft_cap import SoftCap
from patcher.verify.messages import Base, CapFunction, Encoder, Request
from patcher.verify.settings import (
    MAX_BATCH_TOKENS,
    MAX_SINGLE_BATCH_TOKENS,
    MAX_TOKENS,
    USUAL_TOKENS,
    Verification,
    batch_tokens,
)

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt"}


def prepare(
    model: PatchedModel, scratch: Path, settings: Verification, device: str, reference: Path | None = None
) -> Request:
    """Lay out the texts and the models in `scratch`, which is created if missing, and make the request of the child.

    `reference` is the file that the child of the first device wrote; without it, and with several devices, this one
    writes such a file. The folders have random names: transformers keeps remote code by the folder's name.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    texts = scratch / "texts.jsonl"
    with texts.open("w", encoding="utf-8") as file:
        for one in settings.texts:
            file.write(json.dumps({"id": one.id, "language": one.language, "text": one.text}) + "\n")
    base: Base | None = None
    undropped: Path | None = None
    if cap := model.soft_cap:
        code = base_code(model)
        files = {file.path: code.get(file.path, model.folder / file.path) for file in model.files}
        folder = lay_out(files, scratch / f"base-of-{scratch.name}-{token_hex(4)}")
        base = Base(str(folder), _function(cap))
    elif model.drops_bos:
        undropped = lay_out(_undropped(model), scratch / f"undropped-{token_hex(4)}")
    found = _config(model).get("vocab_size")
    vocabulary = found if isinstance(found, int) else 0
    return Request(
        patched=str(model.folder.resolve()),
        encoders=tuple(_encoders(model, scratch)),
        base=base,
        auto_class=model.auto_class,
        loaded_by=model.loaded_by,
        vocabulary=vocabulary,
        device=device,
        dtype=settings.dtype,
        attention=settings.attention,
        texts=str(texts),
        count=len(settings.texts),
        batch_size=settings.batch_size,
        max_batch_tokens=batch_tokens(MAX_BATCH_TOKENS if base else MAX_SINGLE_BATCH_TOKENS, vocabulary),
        max_tokens=max_tokens(model),
        progress=str(scratch / "progress"),
        digest=str(scratch / "digest") if len(settings.devices) > 1 and reference is None else None,
        reference=str(reference) if reference is not None else None,
        original=str(scratch / "original"),
        sparse_encoder=settings.sparse_encoder and is_encoder(model),
        min_logit_sparsity=settings.min_logit_sparsity,
        drops_bos=model.drops_bos,
        undropped=str(undropped) if undropped is not None else None,
    )


def max_tokens(model: PatchedModel) -> int:
    """Where texts are cut: beyond the usual limit if the configuration says that the model takes as many tokens."""
    config = _config(model)
    limits = [value for name in CONTEXT_KEYS if isinstance(value := config.get(name), int)]
    return MAX_TOKENS if limits and min(limits) >= MAX_TOKENS else USUAL_TOKENS


def readable(model: PatchedModel) -> list[Path]:
    """What a child of a verification reads beside its scratch folder: the model, and the source's copies of weights.

    The folder may link to the latter. It may be anybody's, so a file that the record names and that is not called like
    weights stays out, and so does one behind a link that has not the recorded hash.
    """
    copies = [model.source_copy(file) for file in model.weights]
    paths = [(model.folder / file.path, file.after) for file in model.weights]
    links = [(path.resolve(), after) for path, after in paths if path.is_symlink()]
    copies += [path for path, after in links if path.is_file() and sha256_of(path) == after]
    return [model.folder, *(path for path in copies if path is not None and path.suffix in _WEIGHTS)]


def is_encoder(model: PatchedModel) -> bool:
    """Whether sentence-transformers loads the model: not a classifier whose loading was repaired."""
    named = _config(model).get("architectures")
    masked = isinstance(named, list) and any(str(name).endswith("ForMaskedLM") for name in named)
    pools_logits = model.soft_cap is not None or (masked and model.file(MODULES) is None)
    return pools_logits or model.loaded_by in (SENTENCE, SPARSE)


def _function(cap: SoftCap) -> CapFunction:
    """What turns the logits of the patched model into the base's: the cap, or adding what a kept one is lowered by."""
    if cap.kept:
        return CapFunction("identity", 1.0, 1.0, cap.shift)
    return CapFunction(cap.kind, cap.scale, cap.temperature, cap.shift)


def base_code(model: PatchedModel) -> dict[str, bytes]:
    """The code and the configuration of the base model: as published, with the loading repairs and with the cap.

    Raises OutputError where the record does not hold that code.
    """
    folder = model.folder
    if model.base is None:
        why = f"{folder} was written by an earlier version of {TOOL}, whose record lacks the code of the base model."
        raise OutputError(why, "Make the folder again with `patcher patch`.")
    paths = {CONFIG, *model.base, *(file.path for file in model.files if file.path.endswith(".py"))}
    files = {path: model.originals.get(path) or _content(model, path) for path in paths}
    return {**files, **{path: apply_changes(files[path], changes) for path, changes in model.base.items()}}


def _undropped(model: PatchedModel) -> dict[str, bytes | Path]:
    """The files of the first encoder with the code that still has the synthetic first row."""
    code = base_code(model)
    found = encoder_files(model, (model.encoders or ("",))[0])
    return {name: code.get(file.source_path, model.folder / file.path) for name, file in found.items()}


def _config(model: PatchedModel) -> dict[str, Any]:
    """The configuration of the folder; empty where it can't be read, which loading it says."""
    try:
        found = json.loads(_content(model, CONFIG).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _content(model: PatchedModel, path: str) -> bytes:
    """A file of the folder; empty where it was lost, which `files_unchanged` says."""
    with suppress(FileNotFoundError):
        return (model.folder / path).read_bytes()
    return b""


def _encoders(model: PatchedModel, scratch: Path) -> Iterator[Encoder]:
    for number, name in enumerate(("",) if model.soft_cap is not None else model.encoders or ("",)):
        folder = _encoder_folder(model, name, scratch / f"encoder-{number}-{token_hex(4)}")
        weights = [model.source_weights(file) for file in model.weights_of(name)]
        linked: Path | None = None
        if len(weights) == 1 and weights[0].suffix == Path(WEIGHTS).suffix:
            linked = lay_out({WEIGHTS: weights[0]}, scratch / f"saved-{number}-{token_hex(4)}")
        yield Encoder(str(folder), tuple(map(str, weights)), str(linked) if linked is not None else None)


def _encoder_folder(model: PatchedModel, encoder: str, target: Path) -> Path:
    """The folder of a model with its code in it: a sub-folder is laid out in `target`, with links to its files."""
    if not encoder:
        return model.folder.resolve()
    return lay_out({name: model.folder / file.path for name, file in encoder_files(model, encoder).items()}, target)


def encoder_files(model: PatchedModel, encoder: str) -> dict[str, FileRecord]:
    """The files in a folder of the model, by their paths in it, and the code that may lie in the model's own folder."""
    prefix = f"{encoder}/" if encoder else ""
    code = {file.path: file for file in model.files if "/" not in file.path and file.path.endswith(".py")}
    return code | {file.path[len(prefix) :]: file for file in model.files if file.path.startswith(prefix)}


def lay_out(files: Mapping[str, bytes | Path], target: Path, *, link: bool = True) -> Path:
    """Write files in `target`, which is returned; those that are paths become links to them, or copies."""
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif link:
            os.symlink(content.resolve(), path)
        else:
            shutil.copyfile(content, path)
    return target
