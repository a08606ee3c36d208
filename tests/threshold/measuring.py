"""Measures a model in the process of the tests, on few texts: what the child does, without starting one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from patcher.source.snapshot import resolve
from patcher.threshold import embeddings
from patcher.threshold.checks import judge
from patcher.threshold.evaluation import Evaluation, bundled_questions
from patcher.threshold.messages import ThresholdRequest
from patcher.threshold.repaired import RepairedModel, repair
from patcher.threshold.sweep import grid, rows
from patcher.verify import requests
from patcher.verify.report import Check


def few_questions(count: int = 8, among: int = 16) -> Evaluation:
    """The first bundled questions against the passages of somewhat more, so that ten of them have words in common."""
    whole = bundled_questions()
    queries, around = dict(list(whole.queries.items())[:count]), set(list(whole.queries)[:among])
    documents = {key: text for key, text in whole.documents.items() if key.partition("/")[0] in around}
    return replace(
        whole, queries=queries, documents=documents, relevant={query: whole.relevant[query] for query in queries}
    )


def request(folder: Path, model: RepairedModel, texts: Evaluation, threshold: float) -> ThresholdRequest:
    return ThresholdRequest(
        model=str(folder),
        encoders=tuple(model.layout.encoders),
        queries=texts.queries,
        documents=texts.documents,
        relevant=texts.relevant,
        thresholds=grid(threshold, sweep=False),
        uncapped_tasks=tuple(model.layout.uncapped_tasks),
        device="cpu",
    )


def lay_out(source: Path, target: Path) -> RepairedModel:
    """The repaired copy of a model, as copies that a test may damage."""
    model = repair(resolve(str(source)))
    target.mkdir()
    requests.lay_out(model.contents(), target, link=False)
    return model


def check(
    folder: Path, model: RepairedModel, texts: Evaluation | None = None, threshold: float = 0.05
) -> dict[str, Check]:
    """The checks of the copy in `folder` by name."""
    texts = texts or few_questions()
    measured = embeddings.measure(request(folder, model, texts, threshold))
    found = rows(measured.rows, list(texts.queries), texts.relevant)
    kinds = [kind for kind in ("query", "document") if kind not in model.layout.uncapped_tasks]
    judged = judge(measured, found, threshold, kinds, len(texts.relevant), bundled=texts.bundled)
    return {one.name: one for one in judged}
