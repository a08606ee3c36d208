"""The batches in which a verification runs its texts, as the texts of each: what the floor is given to run.

    python batches.py PATCHED TEXTS OUT

TEXTS is what `patcher verify --texts` takes, or - for the bundled ones. Writes a JSON list of lists of texts.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from patcher.patching.record import load
from patcher.verify.measure.batches import batches, windows
from patcher.verify.requests import max_tokens
from patcher.verify.settings import BATCH_SIZE, MAX_BATCH_TOKENS
from patcher.verify.texts import load_probe_texts


def main(patched: str, texts: str, out: str) -> None:
    records = [{"text": one.text} for one in load_probe_texts(None if texts == "-" else Path(texts))]
    tokenizer = AutoTokenizer.from_pretrained(patched, trust_remote_code=True)
    found, limit = [], max_tokens(load(Path(patched)))
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
        file.flush()
        for window in windows(file.name, tokenizer, limit):
            for batch in batches(window, BATCH_SIZE, MAX_BATCH_TOKENS):
                found.append([records[one.index]["text"] for one in batch])
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
