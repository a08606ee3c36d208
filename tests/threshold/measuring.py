"""Measures a model in the process of the tests, on few texts: what the child does, without starting one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from patcher.constants import MAX_LOSS
from patcher.source.snapshot import resolve
from patcher.threshold import embeddings
from patcher.threshold.checks import judge
from patcher.threshold.evaluation import Evaluation, bundled_questions
from patcher.threshold.messages import Point, ThresholdMeasured, ThresholdRequest
from patcher.threshold.repaired import RepairedModel, repair
from patcher.threshold.sweep import points
from patcher.verify import requests
from patcher.verify.report import Check

USUAL = Point(0.05, 0.05)


def few_questions(count: int = 8, among: int = 16) -> Evaluation:
    """The first bundled questions against the passages of somewhat more, so that ten of them have words in common."""
    whole = bundled_questions()
    queries, around = dict(list(whole.queries.items())[:count]), set(list(whole.queries)[:among])
    documents = {key: text for key, text in whole.documents.items() if key.partition("/")[0] in around}
    return replace(
        whole, queries=queries, documents=documents, relevant={query: whole.relevant[query] for query in queries}
    )


def request(
    folder: Path, model: RepairedModel, texts: Evaluation, point: Point, without_cap: Path | None = None
) -> ThresholdRequest:
    return ThresholdRequest(
        model=str(folder),
        without_cap=str(without_cap) if without_cap else None,
        encoders=tuple(model.layout.encoders),
        queries=texts.queries,
        documents=texts.documents,
        relevant=texts.relevant,
        points=points(point, sweep=False),
        expected=texts.expected,
        uncapped_tasks=tuple(model.layout.uncapped_tasks),
        device="cpu",
        progress=str(folder.parent / "progress"),
    )


def lay_out(source: Path, target: Path) -> RepairedModel:
    """The repaired copy of a model, as copies that a test may damage."""
    model = repair(resolve(str(source)))
    target.mkdir()
    requests.lay_out(model.contents(), target, link=False)
    requests.lay_out(model.contents(capped=False), without_cap_of(target))
    return model


def without_cap_of(folder: Path) -> Path:
    """Where the same model without its cap lies, for a copy of `lay_out`."""
    return folder.with_name(f"{folder.name}-without-cap")


def measured(
    folder: Path, model: RepairedModel, texts: Evaluation, point: Point = USUAL, without_cap: Path | None = None
) -> ThresholdMeasured:
    """What the child finds of the copy in `folder`."""
    return embeddings.measure(request(folder, model, texts, point, without_cap))


def check(
    folder: Path,
    model: RepairedModel,
    texts: Evaluation | None = None,
    point: Point = USUAL,
    without_cap: Path | None = None,
) -> dict[str, Check]:
    """The checks of the copy in `folder` by name."""
    found = measured(folder, model, texts or few_questions(), point, without_cap)
    kinds = [kind for kind in ("query", "document") if kind not in model.layout.uncapped_tasks]
    return {one.name: one for one in judge(found, point, kinds, MAX_LOSS)}
