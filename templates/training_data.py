"""Reads the texts for training and evaluation: .jsonl files, data sets on the Hub, or the bundled questions."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training_config import Data

from patcher.errors import SourceError
from patcher.verify.texts import load_questions


def rows(data: Data, path: str, split: str, key: str) -> Iterator[dict[str, Any]]:
    """The rows of a .jsonl file or of a data set on the Hub."""
    if not path.endswith((".jsonl", ".json")):
        from datasets import load_dataset

        try:
            yield from load_dataset(path, split=split)
        except Exception as error:  # a data set fails in as many ways as there are formats
            reason = " ".join(str(error).split())
            raise SourceError(f"{key}: {path} can't be loaded: {reason}", f"Check {key} and {key}_split.") from error
        return
    try:
        lines = Path(path).read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SourceError(f"{key}: {path} can't be read: {reason}.", f"Set {key} to a .jsonl file.") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise SourceError(f"{key}: {path}:{number} is no JSON object.", "Write one object on each line.")
            yield row


def training_rows(data: Data) -> list[dict[str, str]]:
    """The texts of data.columns, of the rows that data.train_filter keeps and that have them all."""
    found, columns, seen = list[dict[str, str]](), data.columns, 0
    for seen, row in enumerate(rows(data, data.train, data.train_split, "data.train"), 1):
        unknown = [name for name in (*columns, *data.train_filter) if name not in row]
        if unknown:
            hint = f"Its columns are {', '.join(row)}; mend data.columns or data.train_filter."
            raise SourceError(f"data.train: {data.train} has no column {unknown[0]} in row {seen}.", hint)
        texts = {name: row[name] for name in columns}
        kept = all(row[name] == value for name, value in data.train_filter.items())
        if kept and all(isinstance(text, str) and text for text in texts.values()):
            found.append(texts)
    if os.environ.get("RANK", "0") == "0":
        print(f"Training on {len(found)} of the {seen} rows of {data.train}.", file=sys.stderr)
    if not found:
        raise SourceError(f"data.train: no row of {data.train} is left.", "Mend data.train_filter or data.columns.")
    return found


def make_evaluator(data: Data, batch_size: int) -> Any:
    """The library's retrieval evaluator; its documents are all passages of the evaluation rows, right and wrong."""
    from sentence_transformers.sparse_encoder.evaluation import SparseInformationRetrievalEvaluator

    query, positive, *negatives = data.columns
    if data.eval is None:
        found = [(item.query, (item.positive, *item.negatives)) for item in load_questions()]
    else:
        found = []
        for number, row in enumerate(rows(data, data.eval, data.eval_split, "data.eval"), 1):
            if not row.get(query) or not row.get(positive):
                hint = f"Its columns are {', '.join(row)}; mend data.columns."
                raise SourceError(f"data.eval: row {number} has no {query} or no {positive}.", hint)
            wrong = [row.get(name) for name in negatives] + list(row.get("negatives") or [])
            found.append((row[query], (row[positive], *(text for text in wrong if text))))
    documents = {text: str(index) for index, text in enumerate(dict.fromkeys(t for _, texts in found for t in texts))}
    queries = {text: str(index) for index, text in enumerate(dict.fromkeys(text for text, _ in found))}
    relevant: dict[str, set[str]] = {}
    for text, texts in found:
        relevant.setdefault(queries[text], set()).add(documents[texts[0]])
    return SparseInformationRetrievalEvaluator(
        {key: text for text, key in queries.items()},
        {key: text for text, key in documents.items()},
        relevant,
        batch_size=batch_size,
        name="eval",
        write_csv=False,
    )
