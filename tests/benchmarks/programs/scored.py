"""A sweep of a capped model over many documents: prints the seconds that it took.

    python scored.py CAPPED DOCUMENTS

The logits are rescaled so that about 2 % of the activations exceed 0.05; without a threshold no dimension is zero. Run
by path.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from sentence_transformers import SparseEncoder

from patcher.source.snapshot import resolve
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.measure import Request, measure
from patcher.threshold.repaired import repair
from patcher.verify.texts import load_questions
from tests.benchmarks.many_texts import sentence

SCALE, SHIFT = 20.0, -45.0


def main(folder: str, documents: str) -> None:
    queries = {one.id: one.query for one in load_questions()}
    texts = {f"{number:07}": sentence(number) for number in range(int(documents))}
    relevant = {query: (f"{number:07}",) for number, query in enumerate(queries)}
    with tempfile.TemporaryDirectory() as place:
        model = SparseEncoder(folder, trust_remote_code=True, device="cpu")
        output = model[0].model.classifier.emb2vocab
        with torch.no_grad():
            output.weight.mul_(SCALE)
            output.bias.mul_(SCALE).add_(SHIFT)
        target = Path(place) / "many-documents"
        model.save_pretrained(str(target), create_model_card=False)
        del model, output
        start = time.perf_counter()
        evaluation = Evaluation(queries, texts, relevant, bundled=False)
        report = measure(repair(resolve(str(target))), evaluation, Request(sweep=True, device="cpu", timeout=1e6))
        seconds = time.perf_counter() - start
    if len(report.rows) < 2 or report.without_cap is None or not report.rows[1].document_active_dims:
        raise SystemExit(f"The sweep measured nothing: {report.checks}")
    print(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
