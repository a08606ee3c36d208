"""Encodes a file of texts into a file for a search system. Interrupted runs resume.

Beside the output a hidden folder holds the vectors in files of WINDOW texts, each written in one step, and says what
they belong to. It is removed when the output is complete.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import add
from pathlib import Path

from patcher.codec import json_text
from patcher.errors import OutputError, UsageError, from_os
from patcher.hashing import sha256_of
from patcher.patching.staging import check_parent, write_atomically
from patcher.planning.files import fingerprint
from patcher.retrieval.encoder import WINDOW, Settings, encode
from patcher.retrieval.formats import MAX_HNSW, SCALE, Naming, Written, dimension_names, find_format, write
from patcher.retrieval.messages import chunk_name, dimension_terms
from patcher.retrieval.model import Runnable
from patcher.retrieval.texts import Columns, count_texts, read_texts
from patcher.retrieval.vectors import Vectors
from patcher.source.snapshot import Source
from patcher.verify.costs import Costs, costs, count
from patcher.verify.texts import load_all_questions

logger = logging.getLogger(__name__)

_STATE, _TERMS, _OUTPUT = "state.json", "terms.json", "output"
Progress = Callable[[str, int, int], None]  # name, texts done, texts in all


@dataclass(frozen=True)
class Job:
    """What to encode into what: the texts of `input`, all queries or all documents, into the file `out`.

    `names` of the dimensions are numbers or terms, where a format has names; `scale` is that of impacts.
    """

    input: Path
    kind: str
    format: str
    out: Path
    names: str = "numbers"
    scale: float = SCALE
    settings: Settings = Settings()
    columns: Columns = Columns()

    def __post_init__(self) -> None:
        find_format(self.format)
        if self.names not in {"numbers", "terms"}:
            raise UsageError(f"{self.names!r} is not a way to name dimensions.", "Use numbers or terms.")
        if not 0 < self.scale <= 1e6:
            raise UsageError(f"{self.scale:g} is not a scale for impacts.", "Use a number above 0, such as 100.")
        if os.path.lexists(self.out):
            raise OutputError(f"{self.out} exists; it was left unchanged.", "Remove it, or choose another --out.")
        check_parent(self.out)


@dataclass(frozen=True)
class Encoding:
    """What was written. `resumed` texts were encoded by an earlier run, the others in `seconds`, loading not included.

    `frequent_terms` are those of the dims that are active in more than half of the texts. `left_out` counts texts that
    the format can't hold because no dimension is active; `notes` say what has to be known of the vectors.
    """

    json_properties = ("texts_per_second",)

    source: Source
    input: Path
    kind: str
    format: str
    out: Path
    texts: int
    resumed: int
    seconds: float
    costs: Costs
    frequent_terms: tuple[str, ...]
    left_out: int
    notes: tuple[str, ...]

    @property
    def texts_per_second(self) -> float:
        """Of this run."""
        return round((self.texts - self.resumed) / self.seconds, 1) if self.seconds else 0.0


def encode_file(model: Runnable, job: Job, progress: Progress = lambda *_: None) -> Encoding:
    """Encode the texts and write the output, complete or not at all.

    Executes the model's code. The costs of documents are those of a search with the bundled questions.
    Raises UsageError for an input that can't be read, OutputError for an output that can't be written or a vector that
    the format does not take, and what `encoder.encode` raises.
    """
    total, content = count_texts(job.input, job.columns), sha256_of(job.input)
    model = model.fetched()
    state = {
        "model": fingerprint(model.snapshot),
        "input": content,
        "columns": [job.columns.id, job.columns.text],
        "kind": job.kind,
        "max_tokens": job.settings.max_tokens,
        "max_active_dims": job.settings.max_active_dims,
        "window": WINDOW,
    }
    with _workplace(job.out, json_text(state)) as work:
        store = _Store(work, job.kind, total)
        resumed = store.done
        if resumed:
            logger.info("%s of %s texts were encoded by an earlier run.", f"{resumed:,}", f"{total:,}")
        seconds = _encode_missing(model, job, store, progress)
        counts = reduce(add, map(count, store.vectors()))
        found = costs(counts, count(store.load("query", 0, None)) if job.kind == "document" else None)
        terms = store.terms(len(counts.active))
        naming = Naming(
            dimension_names(terms) if job.names == "terms" else tuple(map(str, range(len(terms)))),
            len(terms),
            job.scale,
        )
        ids = (key for key, _ in read_texts(job.input, job.columns))
        chunks = ((list(islice(ids, len(vectors))), vectors) for vectors in store.vectors())
        written = write(work / _OUTPUT, chunks, job.format, job.kind, naming)
        if sha256_of(job.input) != content:
            raise OutputError(f"{job.input} was changed while it was encoded.", "Run the same command again.")
        os.replace(work / _OUTPUT, job.out)
        shutil.rmtree(work, ignore_errors=True)
    return Encoding(
        source=model.snapshot.source,
        input=job.input,
        kind=job.kind,
        format=job.format,
        out=job.out,
        texts=total,
        resumed=resumed,
        seconds=round(seconds, 2),
        costs=found,
        frequent_terms=tuple(terms[one] for one in found.frequent),
        left_out=written.left_out,
        notes=tuple(_notes(job, found, written)),
    )


class _Store:
    """The vectors that were encoded so far."""

    def __init__(self, folder: Path, kind: str, total: int) -> None:
        self.folder, self.kind, self.total = folder, kind, total
        self.sizes = [min(WINDOW, total - start) for start in range(0, total, WINDOW)]

    @property
    def complete_windows(self) -> int:
        """How many windows are there from the first on."""
        missing = (n for n in range(len(self.sizes)) if not (self.folder / chunk_name(self.kind, n)).is_file())
        return next(missing, len(self.sizes))

    @property
    def done(self) -> int:
        """How many texts these windows have."""
        return sum(self.sizes[: self.complete_windows])

    def save(self, kind: str, number: int, vectors: Vectors) -> None:
        write_atomically(self.folder / chunk_name(kind, number), vectors.to_bytes())

    def load(self, kind: str, number: int, texts: int | None) -> Vectors:
        """The vectors of a window. Raises OutputError for a damaged file."""
        path = self.folder / chunk_name(kind, number)
        try:
            return Vectors.from_bytes(path.read_bytes(), texts)
        except ValueError as error:
            raise OutputError(f"{path} is damaged: {error}.", f"Remove {self.folder} and start again.") from error

    def vectors(self) -> Iterator[Vectors]:
        """The vectors of all texts, one window at a time."""
        return (self.load(self.kind, number, size) for number, size in enumerate(self.sizes))

    def terms(self, width: int) -> tuple[str, ...]:
        return dimension_terms(json.loads((self.folder / _TERMS).read_text("utf-8")), width)


def _encode_missing(model: Runnable, job: Job, store: _Store, progress: Progress) -> float:
    """Encode what is not there yet, and return the seconds that it took, without loading."""
    first = store.complete_windows
    questions = job.kind == "document" and not (store.folder / chunk_name("query", 0)).is_file()
    if first == len(store.sizes) and not questions and (store.folder / _TERMS).is_file():
        return 0.0
    done = store.done

    def receive(kind: str, number: int, vectors: Vectors) -> None:
        nonlocal done
        if kind == job.kind:
            store.save(kind, first + number, vectors)
            done += len(vectors)
            progress("vectors", done, store.total)
        else:
            store.save(kind, number, vectors)

    missing = (text for _, text in islice(read_texts(job.input, job.columns), done, None))
    texts: dict[str, Iterable[str]] = {"query": [one.query for one in load_all_questions()]} if questions else {}
    answer = encode(model, {**texts, job.kind: missing}, job.settings, receive, store.folder)
    write_atomically(store.folder / _TERMS, json_text(answer.terms))
    return answer.seconds


@contextmanager
def _workplace(out: Path, state: str) -> Iterator[Path]:
    """The hidden folder of an output, emptied unless it is of a run with the same state; stays after an error.

    Raises OutputError where it can't be written, or where another process writes the same output.
    """
    work = Path(os.path.abspath(out)).parent / f".{out.name}.partial"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            _lock(lock.fileno(), out)
            try:
                _prepare(work, state)
                yield work
            finally:
                if not any(work.glob("*.safetensors")):
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise from_os(error, str(out)) from error


def _lock(descriptor: int, out: Path) -> None:
    with contextlib.suppress(ImportError):  # Windows
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            why = f"Another process is writing {out}."
            raise OutputError(why, "Wait until it is done, or choose another --out.") from error


def _prepare(work: Path, state: str) -> None:
    """Keep the vectors of a run with the same state, and nothing else."""
    path = work / _STATE
    same = path.is_file() and path.read_text("utf-8") == state
    if path.is_file() and not same:
        logger.info("An earlier run used a different model, input or setting; its vectors are discarded.")
    for left in work.iterdir():
        if left.is_dir():  # of a child that was killed
            shutil.rmtree(left)
        elif left.name != "lock" and not same:
            left.unlink()
    write_atomically(path, state)


def _notes(job: Job, found: Costs, written: Written) -> Iterator[str]:
    """What has to be known of the vectors that were written."""
    if written.left_out:
        some = ", ".join(written.first_left_out)
        yield f"{written.left_out:,} texts have no active dim and were left out: {some}."
    elif found.empty:
        yield f"{found.empty:,} texts have no active dim; no search finds them."
    if job.format == "pgvector" and found.longest > MAX_HNSW:
        yield (
            f"The longest vector has {found.longest:,} active dims: HNSW takes {MAX_HNSW:,}, so search without an "
            f"index, or encode with --max-active-dims {MAX_HNSW}."
        )
    if job.format == "rank_features" and job.kind == "query" and found.longest > 1024:
        yield f"The longest query has {found.longest:,} clauses: raise indices.query.bool.max_clause_count above 1,024."
