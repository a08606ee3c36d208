"""CPU time of `SparseEncoder.encode` with a threshold, with dropped dimensions too, and without, in turns in a process.

    python threshold.py CAPPED PAIRS [TEXTS]

Embeddings stay dense: those without a threshold have no zeros. One thread, so that none waits for another one. Prints
[[with, dropped too, without], ...] as JSON, in seconds. Run by path.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from sentence_transformers import SparseEncoder

from patcher.threshold.sparse_threshold import SparseThreshold

TEXT = "Fjorden ligg stille om morgonen, og båtane kviler ved kaia. " * 4


def main(folder: str, pairs: str, texts: str = "8") -> None:
    torch.set_num_threads(1)
    plain = SparseEncoder(folder, trust_remote_code=True, device="cpu")
    thresholds = [SparseThreshold(0.05), SparseThreshold(0.05, dropped_dims=[1])]  # the bos token
    models = [*(SparseEncoder(modules=[*plain, one], device="cpu") for one in thresholds), plain]
    some = [TEXT] * int(texts)
    found = []
    for model in models:
        seconds(model, some)
    for number in range(int(pairs)):
        order = (0, 1, 2) if number % 2 == 0 else (2, 1, 0)
        round_ = {which: seconds(models[which], some) for which in order}
        found.append([round_[which] for which in range(3)])
    print(json.dumps(found))


def seconds(model: SparseEncoder, texts: list[str]) -> float:
    start = time.process_time()
    model.encode_document(texts, convert_to_sparse_tensor=False, show_progress_bar=False)
    return time.process_time() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
