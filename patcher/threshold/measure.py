"""Runs a trained model through its repaired copy in a sandboxed child process and judges the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from secrets import token_hex

from patcher.codec import to_json
from patcher.constants import THRESHOLD, VERIFY_TIMEOUT
from patcher.errors import UsageError
from patcher.sandbox.bubblewrap import choose_level
from patcher.sandbox.guard import ask, started
from patcher.threshold.checks import judge
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.messages import ThresholdMeasured, ThresholdRequest
from patcher.threshold.repaired import RepairedModel
from patcher.threshold.report import ThresholdReport
from patcher.threshold.sweep import grid, recommend, rows
from patcher.verify.preconditions import check_snapshot
from patcher.verify.requests import lay_out
from patcher.verify.settings import check_available, check_sentence_transformers

CHILD = "patcher.threshold.embeddings"


@dataclass(frozen=True)
class Request:
    """What to measure: the chosen threshold, with `sweep` others too, and on which device. `timeout` is in seconds."""

    threshold: float = THRESHOLD
    sweep: bool = False
    device: str = "auto"
    timeout: float = VERIFY_TIMEOUT
    sandbox: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf:
            raise UsageError(f"{self.threshold:g} is not a threshold for activations.", "Give a number above 0.")


def measure(model: RepairedModel, evaluation: Evaluation, request: Request = Request()) -> ThresholdReport:
    """Load a repaired copy of the model in a sandboxed child process, encode the texts and judge the result.

    Executes the model's code. A model whose cap was removed is measured without a threshold. Raises
    MissingRequirement if sentence-transformers or the device is missing, SourceError if safetensors are,
    VerificationError if the child fails.
    """
    check_sentence_transformers("A trained SPLADE model runs with")
    model = model.fetched()
    check_snapshot(model.snapshot, model.files)
    chosen = request.threshold if model.capped else 0.0
    swept = request.sweep and model.capped
    roots = [model.snapshot.root] if model.snapshot.root else []
    with started(CHILD, request.device, roots, request.sandbox) as child:
        # transformers keeps remote code by the folder's name.
        folder = lay_out(model.contents(), child.scratch / f"model-{token_hex(4)}")
        asked = ThresholdRequest(
            device=request.device,
            model=str(folder),
            encoders=tuple(model.layout.encoders),
            queries=evaluation.queries,
            documents=evaluation.documents,
            relevant=evaluation.relevant,
            thresholds=grid(chosen, sweep=swept),
            uncapped_tasks=tuple(model.layout.uncapped_tasks),
        )
        measured = ask(child, asked, ThresholdMeasured, request.timeout)
        denied = {"denied": list(child.denied)} if child.denied else {}
    check_available(measured, request.device)
    found = rows(measured.rows, list(evaluation.queries), evaluation.relevant)
    kinds = [kind for kind in ("query", "document") if model.capped and kind not in model.layout.uncapped_tasks]
    return ThresholdReport(
        source=model.snapshot.source,
        code_source=model.code_source,
        soft_cap=model.soft_cap,
        capped=model.capped,
        threshold=chosen,
        environment={
            **to_json(measured.environment),
            "sentence_transformers": measured.sentence_transformers,
            "sandbox": choose_level(request.sandbox),
            **denied,
        },
        checks=judge(measured, found, chosen, kinds, len(evaluation.relevant), bundled=evaluation.bundled),
        raw=measured.raw,
        rows=found,
        evaluation=evaluation,
        swept=swept,
        recommended=recommend(found) if swept and found else None,
    )
