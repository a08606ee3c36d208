"""Runs a trained model through its repaired copy in a sandboxed child process and judges the result."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex

from patcher.codec import to_json
from patcher.constants import MAX_LOSS, THRESHOLD, VERIFY_TIMEOUT
from patcher.errors import UsageError
from patcher.sandbox.bubblewrap import choose_level
from patcher.sandbox.guard import ask, left_behind, started
from patcher.threshold import bm25
from patcher.threshold.checks import judge, judge_bos
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.messages import Point, ThresholdMeasured, ThresholdRequest
from patcher.threshold.repaired import RepairedModel
from patcher.threshold.report import ThresholdReport
from patcher.threshold.sweep import UNPRUNED, fit, is_common, points, recommend
from patcher.verify.preconditions import check_snapshot
from patcher.verify.requests import lay_out
from patcher.verify.settings import Progress, check_available, check_sentence_transformers

CHILD = "patcher.threshold.embeddings"


@dataclass(frozen=True)
class Request:
    """What to measure: with `sweep` many points, and on which device. `timeout` is in seconds.

    `point` is the one to check; without it a sweep checks the one that it recommends. `tolerance` is the share of a
    ranking metric that may be lost. If `in_code`, a threshold is measured as the constant that `Options.threshold`
    builds into the code.
    """

    point: Point | None = None
    sweep: bool = False
    tolerance: float = MAX_LOSS
    device: str = "auto"
    timeout: float = VERIFY_TIMEOUT
    sandbox: str = "auto"
    drop_bos: bool = False
    in_code: bool = False

    def __post_init__(self) -> None:
        if self.in_code and self.drop_bos:
            why = "--drop-bos works in the SparseThreshold module, which --in-code does not write."
            raise UsageError(why, "Leave one of them out.")
        if self.in_code and self.point and not is_common(self.point):
            why = "The code does not know which text is a query, so it has one threshold for both sides and no top k."
            raise UsageError(why, "Use --threshold alone, or leave out --in-code.")
        for value in (self.point.query, self.point.document) if self.point else ():
            if not 0 < value < math.inf:
                raise UsageError(f"{value:g} is not a threshold for activations.", "Use a number above 0.")
        for top in (self.point.query_top_k, self.point.document_top_k) if self.point else ():
            if top is not None and top < 1:
                raise UsageError(f"{top} is not a number of activations to keep.", "Use a whole number above 0.")
        if not 0 <= self.tolerance < 1:
            raise UsageError(f"{self.tolerance:g} is not a share that may be lost.", "Use a number from 0 to 1.")


def measure(
    model: RepairedModel,
    evaluation: Evaluation,
    request: Request = Request(),
    progress: Progress = lambda *_: None,
) -> ThresholdReport:
    """Load a repaired copy of the model in a sandboxed child process, encode the texts and judge the result.

    Executes the model's code. A model whose code has no cap is measured unpruned; one with a cap runs without it too.
    `progress` gets "model", the number of texts that are done and that of all, several times a second.
    Raises MissingRequirement if sentence-transformers or the device is missing, SourceError if safetensors are,
    VerificationError if the child fails.
    """
    check_sentence_transformers("A trained SPLADE model needs")
    model = model.fetched()
    check_snapshot(model.snapshot, model.files)
    swept = request.sweep and model.capped
    with started(CHILD, request.device, model.snapshot.readable, request.sandbox) as child:
        # transformers keeps remote code by the folder's name.
        folders = {
            name: str(lay_out(contents, child.scratch / f"{name}-{token_hex(4)}"))
            for name, contents in (("model", model.contents()), ("without-cap", model.contents(capped=False)))
            if name == "model" or (model.capped and evaluation.judged)
        }
        asked = ThresholdRequest(
            device=request.device,
            model=folders["model"],
            without_cap=folders.get("without-cap"),
            encoders=tuple(model.layout.encoders),
            queries=evaluation.queries,
            documents=evaluation.documents,
            relevant=evaluation.relevant,
            points=points(request.point, sweep=swept, in_code=request.in_code) if model.capped else (UNPRUNED,),
            uncapped_tasks=tuple(model.layout.uncapped_tasks),
            expected=evaluation.expected,
            progress=str(child.scratch / "progress"),
            drop_bos=request.drop_bos and model.capped,
            in_code=request.in_code,
        )
        texts = len(folders) * (len(evaluation.queries) + len(evaluation.documents))
        watch = partial(_watch, Path(asked.progress), texts, progress)
        measured = ask(child, asked, ThresholdMeasured, request.timeout, watch)
        denied = {"denied": list(child.denied)} if child.denied else {}
    check_available(measured, request.device)
    kinds = tuple(kind for kind in ("query", "document") if model.capped and kind not in model.layout.uncapped_tasks)
    best = recommend(measured.rows, kinds, request.tolerance) if swept and measured.rows else None
    point = request.point or (best.point if best else Point(THRESHOLD, THRESHOLD))
    point = point if model.capped else UNPRUNED
    return ThresholdReport(
        source=model.snapshot.source,
        code_source=model.code_source,
        soft_cap=model.soft_cap,
        capped=model.capped,
        point=point,
        tolerance=request.tolerance,
        environment={
            **to_json(measured.environment),
            "sentence_transformers": measured.sentence_transformers,
            "sandbox": choose_level(request.sandbox),
            **denied,
        },
        checks=(*judge(measured, point, kinds, request.tolerance), *judge_bos(measured, asked=request.drop_bos)),
        bos=measured.bos,
        raw=measured.raw,
        rows=tuple(row for row in measured.rows if is_common(row.point)),
        more_rows=tuple(row for row in measured.rows if not is_common(row.point)),
        without_cap=measured.without_cap,
        fit=fit(measured.without_cap),
        evaluation=evaluation,
        swept=swept,
        in_code=request.in_code and model.capped,
        best=best.point if best else None,
        bm25=bm25.figures(evaluation),
    )


def _watch(path: Path, texts: int, progress: Progress) -> None:
    with suppress(ValueError):  # partially written, or missing while libraries and weights are loaded
        progress("model", min(int(left_behind(path, 20)), texts), texts)
