# /// script
# requires-python = ">=3.10"
# dependencies = ["splade-patcher[sentence-transformers]"]
# ///
"""Patches one line of a list of models and publishes it, on a machine of its own; prints the model's row as JSON.

    hf jobs uv run --secrets HF_TOKEN templates/patch_line.py family 3 me
    python templates/patch_line.py --table rows.jsonl

LINE counts the models of LIST, a file or `family`, from 1. The result is published as TO/<name of its folder>. What
follows, such as --no-verify, goes to `patcher patch`. `--table` puts rows together, one from each job.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from patcher.pipeline.family import PATCHED, read_list

PATCHER = [sys.executable, "-m", "patcher"]


def patch_line(path: Path, line: int, to: str, options: list[str], folder: Path) -> dict[str, Any]:
    """Patch and publish one model in a folder; its row of the table, with the address as `published`."""
    entry = read_list(path, folder)[line - 1]
    (folder / "line.txt").write_text(f"{shlex.quote(entry.spec)} {shlex.quote(entry.out.name)}\n", "utf-8")
    words = [
        "patch",
        "--all",
        folder / "line.txt",
        "--out",
        folder,
        "--discard-weights",
        "--trust-remote-code",
        "--json",
    ]
    done = subprocess.run([*PATCHER, *map(str, words), *options], stdout=subprocess.PIPE, check=False)
    row: dict[str, Any] = json.loads(done.stdout)["results"][0]
    if row["status"] == PATCHED:
        unverified = ["--unverified"] if row["report"] is None else []
        words = ["publish", entry.out, f"{to}/{entry.out.name}", "--yes", "--quiet", *unverified]
        done = subprocess.run([*PATCHER, *map(str, words)], stdout=subprocess.PIPE, text=True, check=False)
        row |= {"published": done.stdout.strip() or None}
    return {name: value for name, value in row.items() if name not in {"report", "folder"}}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of several jobs as a Markdown table."""
    columns = ("source", "status", "logit_sparsity", "checks", "seconds", "downloaded", "published", "reason")
    cells = [[str("" if row.get(name) is None else row[name]) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---"] * len(columns), *cells])


def main() -> int:
    """Do one or the other; the exit code is 0 where the model was published."""
    if sys.argv[1:2] == ["--table"]:
        print(table([json.loads(line) for line in Path(sys.argv[2]).read_text("utf-8").splitlines()]))
        return 0
    path, line, to, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        row = patch_line(Path(path), int(line), to, options, Path(folder))
    print(json.dumps(row))
    return 0 if row.get("published") else 1


if __name__ == "__main__":
    raise SystemExit(main())
