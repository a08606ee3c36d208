"""What the parent and the child of an encoding tell each other; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from patcher.codec import json_field
from patcher.verify.messages import Measured

# What runs a graph, and the file that it is loaded from.
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
GRAPHS = {"onnx": "model.onnx", "openvino": "model.xml"}


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
    """Write the model in the folder `model` as a graph into the folder `out`, and compare both on `texts`.

    `format` is onnx or openvino. `ranked` are the bundled queries and documents by which a graph in int8 is measured
    too, None for a graph in float32.
    """

    model: str
    texts: tuple[str, ...]
    out: str
    format: str = "onnx"
    ranked: Ranked | None = None


@dataclass(frozen=True)
class Ranked:
    """Queries, documents, and the row of the one document that answers each query."""

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    right: tuple[int, ...]


@dataclass(frozen=True)
class Quantized:
    """What int8 costs against the model: nDCG@10 of both over `queries`, and how often the best document is another.

    `error` is the largest difference of an activation, -1 if one is no number.
    """

    queries: int
    ndcg_model: float = json_field(key="ndcg@10_model")
    ndcg_graph: float = json_field(key="ndcg@10_graph")
    other_first: int = json_field()
    error: float = json_field()

    @property
    def loss(self) -> float:
        """The share of nDCG@10 that is lost, below 0 for a gain."""
        return (self.ndcg_model - self.ndcg_graph) / self.ndcg_model if self.ndcg_model else 0.0


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
    quantized: Quantized | None = None


def dimension_terms(terms: Sequence[str], width: int) -> tuple[str, ...]:
    """A term for each dimension; a vocabulary may be padded beyond its tokens."""
    return (*terms[:width], *(f"[{number}]" for number in range(len(terms), width)))


def chunk_name(kind: str, number: int) -> str:
    """The file of a window of texts; both sides count windows from 0."""
    return f"{kind}-{number:07d}.safetensors"
