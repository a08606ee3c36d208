"""What becomes of each file of a source: rewritten, carried over, converted, or left out with a reason."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from patcher.codec import json_field
from patcher.constants import CARD, CONFIG, PAGE, PLOTS, RECORD, REPORT, TOKENIZER, WEIGHTS
from patcher.errors import SourceError
from patcher.hashing import sha256_of
from patcher.source.snapshot import Snapshot

_GRAPH = "exported graph: it was made by the code before this change"
# Of these the new folder has its own, or no use: they are no part of the model.
_STATE, _NEW = "state of a training run", "replaced by "
# The first match counts. What precedes the last slash of a pattern is a folder.
_DROPPED = (
    (r"(.*/)?(checkpoint-\d+|global_step\d+)/.*|(.*/)?trainer_state\.json", _STATE),
    (r".*\.onnx(_data|\.data)?|(.*/)?onnx/.*", _GRAPH),
    (r"(.*/)?openvino/.*|.*openvino.*\.(xml|bin)", _GRAPH),
    (r"(.*/)?coreml/.*|.*\.(tflite|gguf|mlmodel|mlpackage|pb)", _GRAPH),
    (r".*\.(bin|pt|pth|ckpt|pkl|pickle)(\.index\.json)?", "pickled weights: loading them can execute code"),
    (r".*\.(h5|msgpack|ot|distcp)(\.index\.json)?", "weights of another framework: safetensors are carried over"),
    (re.escape(CARD), f"{_NEW}the generated model card"),
    (rf"{re.escape(RECORD)}|{re.escape(REPORT)}", f"{_NEW}the record of this patch"),
    (rf"{re.escape(PAGE)}(/.*)?|plots|{'|'.join(map(re.escape, PLOTS))}", f"{_NEW}what is drawn from the report"),
)
# Beside the code and the card, what a plan reads; fetched together, because each request waits for an answer.
_READ = frozenset({CONFIG, "modules.json", "router_config.json", TOKENIZER})
# In the order in which `from_pretrained` looks for them.
_WEIGHTS = (WEIGHTS, "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_INDEX = ".index.json"
_NOT_LOADED = "weights that transformers does not load, so no verification covers them"
_SAFETENSORS = (".safetensors", ".safetensors.index.json")
# What loading a model looks for by name in its folders.
_LOADED = re.compile(
    r".*\.(model|(safetensors|bin)(\.index\.json)?)|.*config.*\.json|modules\.json|tokenizer.*|vocab\..*|merges\.txt"
    r"|(special_tokens_map|added_tokens)\.json|chat_template.*"
)


@dataclass(frozen=True)
class Weights:
    """The checkpoint of one folder: `files` hold its tensors, `index` names them where there are several."""

    files: tuple[str, ...] = ()
    index: str | None = None

    @property
    def pickled(self) -> bool:
        """Whether the files are pickles."""
        return any(path.endswith(".bin") for path in self.files)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files and the index."""
        return (*self.files, *([self.index] if self.index else []))


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
    weights: Iterable[Weights] = (),
    added: Mapping[str, str] | None = None,
) -> FileTable:
    """What becomes of each file: `changed` is rewritten, graphs and pickles are left out, the rest is carried over.

    `weights` are the checkpoints that transformers loads. They are converted where they are pickled; all others are
    left out.
    """
    paths, weights = tuple(paths), tuple(weights)
    converted = {target: path for one in weights if one.pickled for target, path in _conversions(one).items()}
    loaded = {path for one in weights for path in one.paths}
    dropped = {
        path: reason for path in paths if path not in converted.values() and (reason := why_left_out(path, loaded))
    }
    gone = {*dropped, *changed, *converted.values()}
    return FileTable(changed, tuple(path for path in paths if path not in gone), converted, added or {}, dropped)


def why_left_out(path: str, loaded: Collection[str]) -> str | None:
    """Why a file is left out, None where it is carried over; `loaded` are the weights that transformers loads."""
    stray = path.endswith(_SAFETENSORS) and path not in loaded
    return dropped_because(path) or (_NOT_LOADED if stray else None)


def dropped_because(path: str) -> str | None:
    """Why a file is left out; None where it is carried over."""
    return next((reason for pattern, reason in _DROPPED if re.fullmatch(pattern, path, re.IGNORECASE)), None)


def is_loaded(path: str, folders: Collection[str]) -> bool:
    """Whether a file can change what is loaded from the `folders` of a model.

    That is code anywhere, which other code may import, and weights, configurations and tokenizers in those folders.
    """
    folder, _, name = path.rpartition("/")
    return name.endswith(".py") or (folder in folders and _LOADED.fullmatch(name) is not None)


def left_out(dropped: Mapping[str, str]) -> dict[str, str]:
    """What of the model itself a patched folder leaves out: a path to the reason, as in `FileTable.dropped`."""
    return {path: reason for path, reason in dropped.items() if not reason.startswith((_STATE, _NEW))}


def read_by_plans(paths: Iterable[str]) -> list[str]:
    """Those files that a plan reads: code, the card, configurations and indexes of weights."""
    names = ((path, path.rpartition("/")[2]) for path in paths)
    read = _READ | {name for name in _WEIGHTS if name.endswith(_INDEX)}
    return [path for path, name in names if path == CARD or name.endswith(".py") or name in read]


def join(folder: str, name: str) -> str:
    """The path of a file in a folder of the model; "" is the model's own folder."""
    return f"{folder}/{name}" if folder else name


def index_paths(paths: Collection[str], folders: Iterable[str]) -> tuple[str, ...]:
    """The indexes that `find_weights` reads in these folders."""
    found = (_entry(paths, folder) for folder in folders)
    return tuple(path for path in found if path is not None and path.endswith(_INDEX))


def find_weights(paths: Collection[str], folder: str, read: Callable[[str], bytes]) -> Weights:
    """The checkpoint that transformers loads from a folder; empty where there is none.

    `paths` are all files of the model, `read` gives the content of one of them. Shards that the index names may be
    missing. Raises SourceError for an index that can't be read.
    """
    entry = _entry(paths, folder)
    if entry is None or not entry.endswith(_INDEX):
        return Weights((entry,) if entry else ())
    kind = entry.removesuffix(_INDEX).rpartition(".")[2]
    try:
        index = json.loads(read(entry).decode())  # as transformers does: bytes may begin with a BOM, text may not
        names = {str(name) for name in index["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _no_index(entry, f"{type(error).__name__}: {error}") from error
    if not isinstance(index.get("metadata"), dict):
        raise _no_index(entry, "it has no metadata, which transformers asks for")
    if not names or any(not name.endswith(f".{kind}") for name in names):
        raise _no_index(entry, f"it names {', '.join(sorted(names)[:3]) or 'no file'}")
    return Weights(tuple(join(folder, name) for name in sorted(names)), entry)


def check_loadable(snapshot: Snapshot, weights: Iterable[Weights], *, pickled: bool) -> None:
    """Raise SourceError where a folder has no safetensors (nor pickles, if these will do) or lacks a shard.

    Raises HubUnreachable instead where only part of the model is known.
    """
    for one in weights:
        if not one.files and snapshot.source.path is not None:
            why = f"{snapshot.source} has no weights: neither safetensors nor pytorch_model.bin."
            raise snapshot.lacks(why, "Put them there, for instance with `hf download REPO_ID --local-dir DIR`.")
        if not one.files or (one.pickled and not pickled):
            # A trained model keeps its cap, so `patch` would send its owner back.
            command = "repair" if "modules.json" in snapshot.paths else "patch"
            raise snapshot.lacks(
                f"{snapshot.source} has no safetensors weights.",
                f"Convert pytorch_model.bin with `patcher {command} {snapshot.source} --out DIR`, then use DIR.",
            )
        if missing := [path for path in one.files if path not in snapshot.paths]:
            why = f"{snapshot.source} lacks {', '.join(missing[:3])}, which {one.index} names."
            raise snapshot.lacks(why, "Use a complete repository.")


def fingerprint(snapshot: Snapshot, known: Mapping[str, str] | None = None) -> str:
    """What tells a model from another one: its commit, or SHA-256, in hex, over the files of a folder.

    `known` are hashes that need not be computed again, by path.
    """
    if snapshot.source.revision is not None:
        return str(snapshot.source)
    files = (path for path in snapshot.paths if dropped_because(path) is None)
    hashes = known or {}
    content = "".join(f"{path} {hashes.get(path) or sha256_of(snapshot.local(path))}\n" for path in files)
    return hashlib.sha256(content.encode()).hexdigest()


def _no_index(path: str, why: str) -> SourceError:
    return SourceError(f"{path} is not an index of weights ({why}).", "Fix that file, or use a complete repository.")


def _conversions(weights: Weights) -> dict[str, str]:
    """The safetensors to make of pickled weights, and their index, with the pickle of each."""

    def target(path: str) -> str:
        folder, slash, name = path.rpartition("/")
        renamed = name.replace("pytorch_model", "model", 1).replace(".bin", ".safetensors")
        return f"{folder}{slash}{renamed}"

    return {target(path): path for path in weights.paths}


def _entry(paths: Collection[str], folder: str) -> str | None:
    """The file by which transformers finds the weights of a folder: the weights themselves, or their index."""
    return next((path for path in (join(folder, name) for name in _WEIGHTS) if path in paths), None)
