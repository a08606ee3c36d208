"""What BM25, which reads no meaning, reaches on the same questions: the figure to read a model's beside.

https://github.com/xhluca/bm25s with the Norwegian stemmer and stop words, which is what mteb's baseline takes for
Norwegian, so that `evaluate` shows the same figure. It comes with the extra "evaluate".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from patcher.threshold.evaluation import Evaluation
from patcher.threshold.metrics import METRICS, TOP, Best, ranking_metrics
from patcher.threshold.rows import Questions
from patcher.verify import texts

STORED = Path(texts.__file__).with_name("bm25.json")  # of the bundled questions; tests/threshold/bm25.py writes it


def figures(evaluation: Evaluation) -> Mapping[str, float] | None:
    """METRICS by name; None without judgements, and for a user's texts where bm25s or PyStemmer is not installed."""
    if not evaluation.judged:
        return None
    if evaluation.bundled:
        stored: dict[str, float] = json.loads(STORED.read_text("utf-8"))
        return stored
    return measure(evaluation) if find_spec("bm25s") and find_spec("Stemmer") else None


def measure(evaluation: Evaluation) -> dict[str, float]:
    """METRICS by name, means over the judged queries."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("norwegian")

    def tokens(some: Mapping[str, str]) -> Any:
        return bm25s.tokenize(list(some.values()), stopwords="norwegian", stemmer=stemmer, show_progress=False)

    documents = tokens(evaluation.documents)
    if not documents.vocab:  # nothing but stop words
        return dict.fromkeys(METRICS, 0.0)
    index = bm25s.BM25()
    index.index(documents, show_progress=False)
    top = min(TOP, len(evaluation.documents))
    columns, scores = index.retrieve(tokens(evaluation.queries), k=top, show_progress=False)
    questions = Questions.of(list(evaluation.queries), list(evaluation.documents), evaluation.relevant)
    best = Best(np.where(scores > 0, columns, -1).astype(np.int64), scores.astype(np.float64))
    return {name: round(float(found.mean()), 4) for name, found in ranking_metrics(best, questions.relevant).items()}
