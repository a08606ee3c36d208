"""Exports a model as a graph that needs no model code, if it computes what the model computes."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex

from patcher import __version__
from patcher.codec import document, json_text
from patcher.constants import CARD, EXPORT_RECORD, TOOL, VERIFY_TIMEOUT
from patcher.documents import card
from patcher.documents.templating import template
from patcher.errors import MissingRequirement, UsageError, VerificationError
from patcher.patching.staging import atomic_directory, check_output, hashes
from patcher.planning.files import fingerprint
from patcher.retrieval.messages import GRAPHS, RUNTIMES, Exported, ExportRequest, Quantized, Ranked
from patcher.retrieval.model import Runnable
from patcher.sandbox.guard import ask, started
from patcher.source.snapshot import Source, fetch
from patcher.verify.preconditions import check_snapshot
from patcher.verify.requests import lay_out
from patcher.verify.settings import check_available, check_sentence_transformers
from patcher.verify.texts import load_all_questions, load_probe_texts, passages
from patcher.verify.tolerances import device_tolerance

CHILD = "patcher.retrieval.graph"
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True, kw_only=True)
class Export:
    """A graph, the model that it was made of, and how it differs from that on the probe texts.

    `error` is the largest difference of an activation, `tolerance` what rounding explains; `changed` counts dims that
    are active in only one of both; all three are those of the graph in float32. `quantized` says what int8 costs, where
    that is what was written. `max_tokens` is where the model cuts texts.
    """

    json_properties = ("passed",)

    source: Source
    fingerprint: str
    format: str
    inputs: tuple[str, ...]
    output: str
    max_tokens: int | None
    texts: int
    error: float
    tolerance: float
    changed: int
    versions: Mapping[str, str]
    quantized: Quantized | None = None

    @property
    def passed(self) -> bool:
        """Whether rounding explains every difference in float32, and in int8 all are numbers.

        That explains the activation of each dim that is active in only one of both as well.
        """
        measured = self.quantized is None or self.quantized.error >= 0
        return 0 <= self.error <= self.tolerance and measured


def export_model(
    model: Runnable,
    out: Path,
    timeout: float = VERIFY_TIMEOUT,
    sandbox: str = "auto",
    to: str = "onnx",
    quantize: str | None = None,
) -> Export:
    """Write the graph, its tokenizer and a record into the folder `out`, or nothing if the graph differs.

    `to` is onnx or openvino; `quantize` is int8 or None. Executes the model's code. Raises MissingRequirement if a
    library is missing, UsageError for OpenVINO in int8, OutputError for an `out` of somebody else, VerificationError if
    the child fails.
    """
    check_export(out, to, quantize)
    model = model.fetched()
    check_snapshot(model.snapshot, model.files)
    texts = tuple(one.text for one in load_probe_texts())
    with started(CHILD, "cpu", model.snapshot.readable, sandbox) as child:
        # transformers keeps remote code by the folder's name.
        files, made = model.contents(), child.scratch / "graph"
        made.mkdir()
        folder = lay_out(files, child.scratch / f"model-{token_hex(4)}")
        asked = ExportRequest(
            model=str(folder), texts=texts, out=str(made), format=to, ranked=_bundled() if quantize else None
        )
        answer = ask(child, asked, Exported, timeout)
        check_available(answer, "cpu")
        if answer.failure is not None:
            raise VerificationError(
                f"The model can't be exported: {answer.failure}.", "Set HF_DEBUG=1 for the traceback."
            )
        found = _judged(model, answer, len(texts), to)
        if found.passed:
            with atomic_directory(out, EXPORT_RECORD) as stage:
                for name in (GRAPHS[to], *(["model.bin"] if to == "openvino" else [])):
                    _copy(made / name, stage / name)
                # Not those in the child's folder: the model's code may have put others there, or links.
                lay_out({name: files[name] for name in TOKENIZERS if name in files}, stage, link=False)
                (stage / CARD).write_text(_card(model, found, out.name), "utf-8")
                record = {**document(found), "tool": {"name": TOOL, "version": __version__}, **hashes(stage)}
                (stage / EXPORT_RECORD).write_text(json_text(record), "utf-8")
    return found


def check_export(out: Path, to: str, quantize: str | None) -> None:
    """Refuse what can't be exported on this machine, before anything is read. Raises as `export_model` does."""
    if quantize and to != "onnx":
        raise UsageError(f"A graph for {to} can't be quantized here.", "Leave --quantize out, or export --to onnx.")
    check_sentence_transformers("Exporting needs")
    # The quantisation of onnxruntime reads graphs with onnx.
    for name in (RUNTIMES[to], *(["onnx"] if quantize else [])):
        if find_spec(name) is None:
            raise MissingRequirement(f"Checking a graph needs {name}, which is not installed.", f"pip install {name}")
    check_output(out, EXPORT_RECORD)


def _bundled() -> Ranked:
    """Every bundled question against the passages of all questions."""
    questions = load_all_questions()
    documents = passages(questions)
    rows = {key: row for row, key in enumerate(documents)}
    right = tuple(rows[one.right] for one in questions)
    return Ranked(tuple(one.query for one in questions), tuple(documents.values()), right)


def _card(model: Runnable, export: Export, name: str) -> str:
    snapshot = fetch(model.snapshot, [CARD]) if CARD in model.snapshot.paths else None
    original = snapshot.read(CARD).decode("utf-8-sig", "replace").replace("\r\n", "\n") if snapshot else ""
    tags = [export.format, *(["int8"] if export.quantized else []), "sparse-encoder", "sparse", "splade"]
    metadata = card.front_matter(
        original, export.source, library_name=export.format, pipeline_tag="feature-extraction", tags=tags
    )
    text = template("export_card.md.jinja").render(name=name, export=export, version=__version__)
    return card.seal(f"---\n{metadata}---\n\n{text}")


def _judged(model: Runnable, answer: Exported, texts: int, to: str = "onnx") -> Export:
    return Export(
        source=model.snapshot.source,
        fingerprint=fingerprint(model.snapshot),
        format=to,
        inputs=("input_ids", "attention_mask"),
        output="vector",
        max_tokens=answer.max_tokens,
        texts=texts,
        error=answer.error,
        # log(1 + x) and the maximum pass on no more than the error of a logit
        tolerance=device_tolerance(answer.largest, "float32", answer.roundings),
        changed=answer.changed,
        versions=answer.versions,
        quantized=answer.quantized,
    )


def _copy(graph: Path, target: Path) -> None:
    """Copy a file that the child wrote. Raises VerificationError if it put something else there."""
    descriptor = os.open(graph, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file, target.open("wb") as copy:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise VerificationError("The child process wrote no graph.", "Run the same command again.")
        shutil.copyfileobj(file, copy)
