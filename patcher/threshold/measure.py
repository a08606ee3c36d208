"""Runs a trained model through its repaired copy in the guarded child process and judges what comes back."""

from __future__ import annotations

import importlib.util
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from patcher.constants import THRESHOLD
from patcher.errors import UsageError
from patcher.sandbox.guard import TIMEOUT, run_child
from patcher.threshold.checks import Measured, judge
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.repaired import RepairedModel
from patcher.threshold.report import ThresholdReport
from patcher.threshold.sweep import grid, recommend, rows

DEFAULT = THRESHOLD
BATCH_SIZE = 8


@dataclass(frozen=True)
class Request:
    """What to measure: the chosen threshold, whether others too, on which texts and device. `timeout` in seconds."""

    threshold: float = DEFAULT
    sweep: bool = False
    device: str = "auto"
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf:
            raise UsageError(f"{self.threshold:g} is no threshold for activations.", "Give a number above 0.")


def measure(model: RepairedModel, evaluation: Evaluation, request: Request = Request()) -> ThresholdReport:
    """Load the model through a repaired copy in a guarded child process, encode the texts and judge what comes out.

    Executes the model's code. A model whose cap was removed is measured without a threshold. Raises UsageError where
    sentence-transformers is missing, SourceError where safetensors are, VerificationError where the child fails.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise UsageError(
            "A trained SPLADE model is run with sentence-transformers, which is not installed.",
            "pip install 'splade-patcher[sentence-transformers]'",
        )
    model = model.fetched()
    chosen = request.threshold if model.capped else 0.0
    with tempfile.TemporaryDirectory(prefix="patcher-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        # transformers keeps remote code by the folder's name.
        folder = scratch / f"model-{token_hex(4)}"
        folder.mkdir()
        model.write(folder, link=True)
        answer = run_child(
            "patcher.threshold.child",
            {
                "model": str(folder),
                "encoders": model.layout.encoders,
                "queries": evaluation.queries,
                "documents": evaluation.documents,
                "relevant": evaluation.relevant,
                "thresholds": grid(chosen, sweep=request.sweep and model.capped),
                "uncapped_tasks": model.layout.uncapped_tasks,
                "device": request.device,
                "batch_size": BATCH_SIZE,
            },
            scratch,
            request.device,
            request.timeout,
        )
    measured = Measured(**answer)
    found = rows(measured.rows, list(evaluation.queries), evaluation.relevant)
    kinds = [kind for kind in ("query", "document") if model.capped and kind not in model.layout.uncapped_tasks]
    return ThresholdReport(
        source=model.snapshot.source,
        code_source=model.code_source,
        soft_cap=model.soft_cap,
        capped=model.capped,
        threshold=chosen,
        environment=measured.environment,
        checks=judge(measured, found, chosen, kinds, len(evaluation.relevant), evaluation.bundled),
        raw=measured.raw,
        rows=found,
        evaluation=evaluation,
        swept=request.sweep and model.capped,
        recommended=recommend(found) if request.sweep and model.capped and found else None,
    )
