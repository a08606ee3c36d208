"""What becomes of each file of a source: rewritten, carried over, converted, or left out with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from patcher.codec import json_field
from patcher.constants import CARD, PAGE, PLOTS, RECORD, REPORT

# The first match counts. What precedes the last slash of a pattern is a folder.
_DROPPED = (
    (r".*\.onnx(_data|\.data)?|(.*/)?onnx/.*", "exported graph: it still contains the sigmoid"),
    (r"(.*/)?openvino/.*|.*openvino.*\.(xml|bin)", "exported graph: it still contains the sigmoid"),
    (r"(.*/)?coreml/.*|.*\.(tflite|gguf|mlmodel|mlpackage|pb)", "exported graph: it still contains the sigmoid"),
    (r".*\.(bin|pt|pth|ckpt|pkl|pickle)(\.index\.json)?", "pickled weights: loading them can execute code"),
    (r".*\.(h5|msgpack|ot)(\.index\.json)?", "weights of another framework: safetensors are carried over"),
    (re.escape(CARD), "replaced by the generated model card"),
    (rf"{re.escape(RECORD)}|{re.escape(REPORT)}", "replaced by the record of this patch"),
    (rf"{re.escape(PAGE)}(/.*)?|plots|{'|'.join(map(re.escape, PLOTS))}", "replaced by what is drawn from the report"),
)
_SINGLE, _INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_SHARD = re.compile(r"pytorch_model(-\d+-of-\d+)\.bin")


def _pairs(second: str) -> Callable[[Mapping[str, str]], list[dict[str, str]]]:
    """How JSON lists a mapping by path: `[{"path": ..., second: ...}, ...]`."""
    return lambda table: [{"path": path, second: value} for path, value in table.items()]


@dataclass(frozen=True)
class FileTable:
    """Every file of the source: rewritten, carried over byte for byte, converted, or left out with a reason.

    `converted` maps a safetensors file (or their index) to the pickle that it is made of, `added` a copy of code to
    the file that it is a copy of, `dropped` a path to the reason.
    """

    changed: tuple[str, ...]
    copied: tuple[str, ...]
    converted: Mapping[str, str] = json_field(write=_pairs("from"))
    added: Mapping[str, str] = json_field(write=_pairs("from"))
    dropped: Mapping[str, str] = json_field(write=_pairs("reason"))


def file_table(
    paths: Iterable[str],
    changed: tuple[str, ...],
    folders: Iterable[str] = ("",),
    added: Mapping[str, str] | None = None,
) -> FileTable:
    """What becomes of each file: `changed` is rewritten, graphs and pickles are left out, the rest is carried over.

    In a folder of `folders` that holds no other weights, pickled ones are converted.
    """
    paths = tuple(paths)
    converted = {target: path for folder in folders for target, path in _conversions(paths, folder).items()}
    kept = set(converted.values())
    dropped = {path: reason for path in paths if path not in kept and (reason := dropped_because(path))}
    copied = tuple(path for path in paths if path not in dropped and path not in changed and path not in kept)
    return FileTable(changed, copied, converted, added or {}, dropped)


def dropped_because(path: str) -> str | None:
    """Why a file is left out; None where it is carried over."""
    return next((reason for pattern, reason in _DROPPED if re.fullmatch(pattern, path, re.IGNORECASE)), None)


def join(folder: str, name: str) -> str:
    """The path of a file in a folder of the model; "" is the model's own folder."""
    return f"{folder}/{name}" if folder else name


def _conversions(paths: tuple[str, ...], folder: str) -> dict[str, str]:
    """The safetensors to make in a folder, with the pickle of each; one file is preferred to shards, as in loading."""
    here = {path.rpartition("/")[2] for path in paths if path.rpartition("/")[0] == folder}
    if any(name.endswith(".safetensors") for name in here):
        return {}
    names = {"model.safetensors": _SINGLE} if _SINGLE in here else {}
    if not names and _INDEX in here:
        shards = {f"model{found[1]}.safetensors": name for name in here if (found := _SHARD.fullmatch(name))}
        names = {**dict(sorted(shards.items())), "model.safetensors.index.json": _INDEX}
    return {join(folder, target): join(folder, name) for target, name in names.items()}
