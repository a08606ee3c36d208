"""In the child: loads the trained model, encodes the texts, and measures every point; without the cap too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder
from transformers import PreTrainedModel

from patcher.sandbox.child import Service
from patcher.threshold.messages import KINDS, DroppedBos, Point, Sparsity, ThresholdMeasured, ThresholdRequest
from patcher.threshold.rows import Questions
from patcher.threshold.scoring import Scorer, Vectors, dot
from patcher.verify.costs import Counts
from patcher.verify.measure.encoding import encode, in_order
from patcher.verify.measure.hardware import confine_on_device
from patcher.verify.measure.models import fresh_model, nan_filled_memory, unmatched_tensors, wrong_buffers
from patcher.verify.measure.serving import measured

CHUNK = 256  # texts; their vectors take 52 MB at NorBERT4's vocabulary


def measure(request: ThresholdRequest) -> ThresholdMeasured:
    """Load the model, encode queries and documents, and measure every point."""
    folders = {request.model: "model"} | ({request.without_cap: "model without cap"} if request.without_cap else {})
    return measured(
        request.device,
        ThresholdMeasured,
        partial(_steps, request),
        folders,
        sentence_transformers=sentence_transformers.__version__,
        width=0,
        vocab_size=0,
        raw={},
        rows=(),
    )


def _steps(request: ThresholdRequest, found: ThresholdMeasured, device: str) -> Iterator[ThresholdMeasured]:
    model = _load(request.model)
    found = _compare_loaded(model, request, found)
    yield found
    documents = dict(sorted(request.documents.items()))  # by id, which is what decides between equal scores
    questions = Questions.of(list(request.queries), list(documents), request.relevant, request.expected)
    capped = [kind for kind in KINDS if kind not in request.uncapped_tasks]
    bos = Bos(model.tokenizer.bos_token_id, capped) if request.drop_bos else None
    texts = _Texts(list(request.queries.values()), list(documents.values()), Path(request.progress), bos)
    model = model.to(device)
    scorer, width, not_finite = texts.score(model, request.points, request.uncapped_tasks, in_code=request.in_code)
    found = replace(found, width=width, not_finite=not_finite, bos=bos.result() if bos else None)
    yield found
    if not_finite:
        return
    found = replace(found, raw=_sparsity(scorer.counts(0)))
    unpruned = scorer.measurement(0)
    for number, point in enumerate(request.points):
        counts = scorer.counts(number)
        row = questions.row(point, _sparsity(counts), counts, scorer.measurement(number), unpruned)
        found = replace(found, rows=(*found.rows, row))
    yield found
    if request.without_cap is not None:
        del scorer
        point = request.points[0]
        model = _load(request.without_cap).to(device)
        scorer, _, _ = texts.score(model, [point], request.uncapped_tasks, follow=unpruned.best.columns)
        counts = scorer.counts(0)
        row = questions.row(point, _sparsity(counts), counts, scorer.measurement(0), unpruned)
        yield replace(found, without_cap=row)


class Bos:
    """Leaves the dimension of the bos token out of vectors of some `kinds` of text, and looks at what was there."""

    def __init__(self, dim: int | None, kinds: Sequence[str]) -> None:
        if dim is None:
            raise ValueError("the tokenizer has no bos token")
        self._dim, self._kinds = dim, kinds
        self._times: Counter[float] = Counter()

    def drop(self, kind: str, vectors: NDArray[np.float32]) -> None:
        """Make that dimension of vectors [texts, dimensions] zero, in place."""
        if kind in self._kinds:
            self._times.update(vectors[:, self._dim].tolist())
            vectors[:, self._dim] = 0

    def result(self) -> DroppedBos:
        """What was found until now."""
        texts = self._times.total()
        return DroppedBos(self._dim, texts, texts - max(self._times.values(), default=0))


@dataclass
class _Texts:
    """The texts to encode, and the file in which those that are done are counted."""

    queries: Sequence[str]
    documents: Sequence[str]
    progress: Path
    bos: Bos | None = None
    done: int = 0

    def score(
        self,
        model: Any,
        points: Sequence[Point],
        uncapped: Sequence[str],
        *,
        in_code: bool = False,
        follow: NDArray[np.int64] | None = None,
    ) -> tuple[Scorer, int, int]:
        """The scores at every point, the dimensions, and how many values are not finite, of which none are scored."""
        queries = np.concatenate(list(self._encoded(model, "query", self.queries)))
        scorer = Scorer(queries, points, uncapped, partial(_similarity, model), follow, in_code=in_code)
        width, not_finite = queries.shape[1], int((~np.isfinite(queries)).sum())
        for chunk in self._encoded(model, "document", self.documents):
            width, not_finite = chunk.shape[1], not_finite + int((~np.isfinite(chunk)).sum())
            if not not_finite:
                scorer.add(chunk)
        return scorer, width, not_finite

    def _encoded(self, model: Any, kind: str, texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(texts), CHUNK):
            chunk = list(texts[start : start + CHUNK])
            vectors = in_order(encode(model, chunk, f"encode_{kind}"), len(chunk)).float().numpy()
            if self.bos is not None:
                self.bos.drop(kind, vectors)
            yield vectors
            self.done += len(chunk)
            self.progress.write_text(str(self.done), "utf-8")


def _similarity(model: Any, queries: Vectors, documents: Vectors) -> NDArray[np.float32]:
    """The model's own similarity [queries, documents]."""
    if model.similarity_fn_name == "dot":
        return dot(queries, documents)
    dense = (one if isinstance(one, np.ndarray) else one.toarray() for one in (queries, documents))
    found: NDArray[np.float32] = model.similarity(*map(torch.from_numpy, dense)).numpy()
    return found


def _load(folder: str) -> Any:
    with nan_filled_memory():
        return SparseEncoder(folder, trust_remote_code=True, device="cpu", local_files_only=True)


def _compare_loaded(model: Any, request: ThresholdRequest, found: ThresholdMeasured) -> ThresholdMeasured:
    """Compare every masked LM of the model with its checkpoint (names) and with a fresh one (buffers)."""
    loaded = [part for part in model.modules() if isinstance(part, PreTrainedModel) and hasattr(part, "classifier")]
    folders = [Path(request.model) / folder for folder in request.encoders]
    if len(loaded) != len(folders):
        raise ValueError(f"{len(loaded)} masked LMs were loaded instead of {len(folders)}")
    for part, folder in zip(loaded, folders, strict=True):
        fresh = fresh_model(str(folder))
        count, wrong = wrong_buffers(part, fresh)
        unused, missing = unmatched_tensors(part, fresh, [str(path) for path in sorted(folder.glob("*.safetensors"))])
        found = replace(
            found,
            buffers=found.buffers + count,
            buffers_wrong=(*found.buffers_wrong, *wrong),
            tensors=found.tensors + len(part.state_dict()),
            tensors_changed=(*found.tensors_changed, *sorted(missing)),
            tensors_unused=(*found.tensors_unused, *sorted(unused)),  # transformers leaves them out, of the base too
            vocab_size=int(part.config.vocab_size),
        )
    return found


def _sparsity(counts: Mapping[str, Counts]) -> dict[str, Sparsity]:
    """What `SparseEncoder.sparsity()` gives for the texts of each kind."""
    active = {kind: float(one.active.sum()) / one.texts for kind, one in counts.items()}
    return {kind: Sparsity(dims, 1 - dims / len(counts[kind].active)) for kind, dims in active.items()}


SERVICE = Service(ThresholdRequest, lambda request, scratch: confine_on_device(request.device, scratch), measure)
