"""What a user without this tool would run: SparseEncoder.encode on the base and on the patched model.

    python encode.py BASE PATCHED TEXTS

TEXTS is a JSON list. Prints active dims and sparsity of both as JSON. Imports nothing of this project, and is run by
path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sentence_transformers import SparseEncoder

MAX_TOKENS = 520


def main(base: str, patched: str, texts: str) -> None:
    sentences = json.loads(Path(texts).read_text())
    found = {}
    for name, folder in (("before", base), ("after", patched)):
        model = SparseEncoder(folder, trust_remote_code=True, device="cpu")
        model.max_seq_length = MAX_TOKENS
        found[name] = model.sparsity(model.encode(sentences, show_progress_bar=False))
        del model  # one model at a time, as somebody short of memory does it
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
