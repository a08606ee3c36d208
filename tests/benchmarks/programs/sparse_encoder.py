"""What a user without this tool would run: SparseEncoder.encode_document, at the batch size that is fastest here.

    python sparse_encoder.py MODEL TEXTS BATCH_SIZE...

TEXTS is a JSON list. Prints the texts per second of each batch size as JSON, loading not included. Imports nothing of
this project, and is run by path.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from sentence_transformers import SparseEncoder


def main(folder: str, texts: str, *sizes: str) -> None:
    sentences = json.loads(Path(texts).read_text())
    model = SparseEncoder(folder, trust_remote_code=True, device="cpu")
    model.encode_document(sentences[:8])
    found = {}
    for size in map(int, sizes):
        started_at = time.perf_counter()
        model.encode_document(sentences, batch_size=size, show_progress_bar=False)
        found[size] = len(sentences) / (time.perf_counter() - started_at)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
