"""What the parent and the child of a verification tell each other; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from patcher.codec import json_field

FloatType = Literal["float64", "float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class CapFunction:
    """What the cap computes: scale * kind((x + shift) / temperature), kind being sigmoid, tanh or identity."""

    kind: str
    scale: float
    temperature: float
    shift: float = 0.0


@dataclass(frozen=True)
class Base:
    """The base model to compare with: its folder, and the cap that it computes besides."""

    folder: str
    cap: CapFunction


@dataclass(frozen=True)
class Encoder:
    """A model of transformers: its folder, its checkpoint files in the source, and a folder with nothing but those.

    There is no such folder, `linked`, for weights in several files or in another format than safetensors.
    """

    folder: str
    weights: tuple[str, ...]
    linked: str | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a verification asks for: to run models, and to compare the only one with its `base` if that is given.

    `patched` is the folder, which `sparse_encoder` loads with sentence-transformers too, by the class that its users
    load it with (`loaded_by`); `encoders` are its transformers. `texts` is a file of JSON lines with `count` texts;
    `progress` is a file in which the child counts those that are done. The child of the first of several devices writes
    the logits of the first texts to `digest`, the others compare theirs with that file, their `reference`. `original`
    is the folder of the outputs of the published code, if that ran on another transformers (see `measure.original`).
    `min_logit_sparsity` is the limit that `shift_to_gate` is for. If `drops_bos`, the synthetic first row is zero now;
    the base model has it, or else the model in `undropped`, which differs in nothing else from the first of the
    `encoders`.
    """

    patched: str
    encoders: tuple[Encoder, ...]
    base: Base | None
    auto_class: str
    loaded_by: str
    vocabulary: int
    device: str
    dtype: str
    attention: str | None
    texts: str
    count: int
    batch_size: int
    max_batch_tokens: int
    max_tokens: int
    progress: str
    digest: str | None
    reference: str | None
    original: str
    sparse_encoder: bool
    min_logit_sparsity: float
    drops_bos: bool = False
    undropped: str | None = None


@dataclass(frozen=True)
class Environment:
    """The versions and the device that figures come from; `dtype` is what a forward pass computed in."""

    python: str
    torch: str
    transformers: str
    device: str
    dtype: str
    flash_attn: str


@dataclass(frozen=True)
class Unavailable:
    """Why nothing could be measured: `devices` are those torch finds instead, or one of the others says what failed.

    That is no finding about the model: a library or a file could not be read (`reason`), or memory ran out (`memory`).
    """

    devices: tuple[str, ...] = ()
    attention: str | None = None
    memory: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What every child measures; counts unless said otherwise.

    `tensors_unused` are names that only the checkpoint has, `tensors_initial` those that only the base and the patched
    model have; `tensors_of_another_class` are those of `tensors_changed` that a model without a base leaves unused.
    `failure` is the error of the model's code. Where that or `unavailable` is set, the rest is what was measured until
    then. `denied` is what the code tried in vain, which the parent finds out.
    """

    environment: Environment
    tensors: int
    tensors_changed: tuple[str, ...]
    buffers: int
    buffers_wrong: tuple[str, ...]
    not_finite: int
    tensors_unused: tuple[str, ...] = ()
    tensors_initial: tuple[str, ...] = ()
    tensors_of_another_class: tuple[str, ...] = ()
    failure: str | None = None
    unavailable: Unavailable | None = None
    denied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """The largest difference from the logits of the first device, and the number of texts that were compared."""

    largest: float
    texts: int


@dataclass(frozen=True)
class OriginalAgreement:
    """The largest difference from the outputs of the published code on another transformers.

    `scale` is the largest magnitude of these outputs, `texts` the number of texts that were compared.
    """

    largest: float
    scale: float
    texts: int


@dataclass(frozen=True)
class OriginalRun:
    """What a process says that ran the published code: its transformers, and how many texts."""

    transformers: str
    texts: int


@dataclass(frozen=True)
class MeanAndMin:
    """Embedding sparsity over all texts."""

    mean: float
    min: float


@dataclass(frozen=True)
class MeanAndMax:
    """Active dims over all texts."""

    mean: float
    max: int


@dataclass(frozen=True)
class Bins:
    """A histogram: counts in bins of equal width, the first of which begins at `first`."""

    first: float
    width: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class LengthBin:
    """Embedding sparsity of the texts of some lengths: the shortest and the longest in tokens, and how many texts."""

    tokens: tuple[int, int]
    texts: int
    mean: float
    min: float
    p10: float
    median: float
    p90: float


@dataclass(frozen=True)
class ShiftPoint:
    """Both sparsities with `shift` subtracted from every logit."""

    shift: float
    logit_sparsity: float
    embedding_sparsity: float


@dataclass(frozen=True)
class IndexCosts:
    """What an index of the texts costs that is searched with the same texts as queries; see `verify.costs`.

    `frequent` counts the dims that are active in more than half of the texts, `empty` the texts without an active dim.
    """

    flops: float
    postings_per_query: float
    index_bytes: int
    frequent: int
    empty: int


@dataclass(frozen=True)
class LogitFigures:
    """The figures of one model as the report holds them; see `measure.figures.Figures`."""

    min: float | None
    max: float | None
    negative_fraction: float
    logit_sparsity: float
    embedding_sparsity: MeanAndMin
    active_dims: MeanAndMax
    histogram: Bins | None
    by_length: tuple[LengthBin, ...]
    costs: IndexCosts | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class PatchedFigures(LogitFigures):
    """The same for a patched model, whose logits may be shifted; `shift_to_gate` is None where no shift is enough."""

    curve: tuple[ShiftPoint, ...]
    shift_to_gate: float | None


@dataclass(frozen=True)
class ModeResult:
    """What running a model in one mode of use showed (see `measure.modes`).

    `error` is the largest |base - cap(patched)|, where there is a base model, and `dtype` what its logits are computed
    in. `drift` is the largest difference from the model's own result in a simpler mode, `repeated`, and `largest` the
    largest magnitude of its values. `wrong` says what else is wrong; `not_run` why the mode was not run.
    """

    name: str
    dtype: FloatType = "float32"
    error: float | None = None
    drift: float | None = None
    largest: float = 0.0
    wrong: str | None = None
    not_run: str | None = None
    repeated: str | None = None


@dataclass(frozen=True, kw_only=True)
class LogitsMeasured(Measured):
    """What running a masked LM measures besides; positions are neither padding nor the synthetic first row.

    `patched` are the figures of the patched model, or of the first one whose cap stays; None where no position was
    measured. `head_dtype`, `coarsest_dtype` and `roundings` are those of `measure.hardware.Precision`. `bos_rows_wrong`
    counts texts whose logits differ in more than a first row that is zero now; None where no row was dropped.
    """

    positions: int
    patched: LogitFigures | None
    head_dtype: FloatType = "float32"
    coarsest_dtype: FloatType = "float32"
    roundings: int = 0
    agreement: Agreement | None = None
    modes: tuple[ModeResult, ...] = ()
    original: OriginalAgreement | None = None
    bos_rows_wrong: int | None = None


@dataclass(frozen=True)
class TopTerms:
    """Active dims of a text, and its strongest terms with their weights."""

    active_dims: int
    terms: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ProbeTerms:
    """A probe text and its strongest terms under both models."""

    id: str
    language: str
    text: str
    tokens: int
    base: TopTerms = json_field(key="before")
    patched: TopTerms = json_field(key="after")


@dataclass(frozen=True, kw_only=True)
class EncoderFigures:
    """What SparseEncoder says of both models; `disagreements` counts texts on whose active dims we disagree."""

    version: str
    base: Mapping[str, float] = json_field(key="before")
    patched: Mapping[str, float] = json_field(key="after")
    disagreements: int
    pooling: str


@dataclass(frozen=True, kw_only=True)
class PairMeasured(LogitsMeasured):
    """What the comparison of a base and a patched model measures.

    `cap_error` is max |base - cap(patched)|.
    """

    cap_error: float | None
    predictions_changed: int
    rankings_changed: int
    batch_size: int
    base: LogitFigures | None
    patched: PatchedFigures | None
    sparse_encoder: EncoderFigures | None = None
    probe_texts: tuple[ProbeTerms, ...] = ()


@dataclass(frozen=True)
class EncoderLoaded:
    """What loading a folder with a class of sentence-transformers shows; `not_finite` counts values of embeddings.

    `other_modules` are the loaded modules where these are not those of modules.json.
    """

    version: str
    splade: bool
    not_finite: int
    loaded_by: str = "SparseEncoder"
    other_modules: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SingleMeasured(LogitsMeasured):
    """What running models that have no base measures."""

    sparse_encoder: EncoderLoaded | None = None
