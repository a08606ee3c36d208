"""What the parent and the child of an encoding tell each other; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patcher.verify.messages import Measured


@dataclass(frozen=True)
class Texts:
    """Texts to encode: a file with one JSON string per line. `kind` is query or document."""

    kind: str
    path: str


@dataclass(frozen=True, kw_only=True)
class EncodeRequest:
    """Encode texts with the SparseEncoder model in the folder `model`, and write their vectors into the folder `out`.

    Each `window` of texts becomes one file, see `chunk_name`. A batch has at most `batch_tokens` tokens with padding,
    or one text. `max_active_dims` keeps only the largest activations of each text, `max_tokens` only its first tokens.
    """

    device: str
    model: str
    inputs: tuple[Texts, ...]
    out: str
    window: int
    batch_tokens: int | None
    max_tokens: int | None
    max_active_dims: int | None


@dataclass(frozen=True, kw_only=True)
class Encoded(Measured):
    """How an encoding ended. `terms` are the tokens of the vocabulary, decoded; `seconds` are without loading."""

    sentence_transformers: str
    terms: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Write the model in the folder `model` as an ONNX graph to `out`, and compare both on `texts`."""

    model: str
    texts: tuple[str, ...]
    out: str


@dataclass(frozen=True, kw_only=True)
class Exported(Measured):
    """How the graph differs from the model: `error` is the largest difference of an activation, -1 if one is no number.

    `changed` counts dims that are active in only one of both, `largest` is the largest logit, `roundings` those of one
    pass. `max_tokens` is where texts are cut.
    """

    versions: Mapping[str, str]
    error: float
    changed: int
    largest: float
    roundings: int
    max_tokens: int | None


def dimension_terms(terms: Sequence[str], width: int) -> tuple[str, ...]:
    """A term for each dimension; a vocabulary may be padded beyond its tokens."""
    return (*terms[:width], *(f"[{number}]" for number in range(len(terms), width)))


def chunk_name(kind: str, number: int) -> str:
    """The file of a window of texts; both sides count windows from 0."""
    return f"{kind}-{number:07d}.safetensors"
