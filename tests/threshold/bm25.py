"""Stores what BM25 reaches on the bundled questions beside them: `python -m tests.threshold.bm25`."""

from __future__ import annotations

from patcher.codec import json_text
from patcher.threshold.bm25 import STORED, measure
from patcher.threshold.evaluation import bundled_questions

if __name__ == "__main__":
    STORED.write_text(json_text(measure(bundled_questions())), "utf-8")
