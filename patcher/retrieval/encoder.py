"""Runs a model in a sandboxed child process and receives the vectors while they are made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from secrets import token_hex

from patcher.constants import VERIFY_TIMEOUT
from patcher.errors import UsageError, VerificationError
from patcher.retrieval.messages import Encoded, EncodeRequest, Texts, chunk_name
from patcher.retrieval.model import Runnable
from patcher.retrieval.vectors import Vectors
from patcher.sandbox.guard import ask, open_written, started
from patcher.verify.preconditions import check_snapshot
from patcher.verify.requests import lay_out
from patcher.verify.settings import check_available, check_sentence_transformers

CHILD = "patcher.retrieval.embeddings"
WINDOW = 256  # texts that are sorted together, and that a killed run loses at most
MAX_CHUNK = 1 << 28  # bytes; a vector of NorBERT4's vocabulary has at most 409,600
_LONGEST = 30 * 86400.0  # seconds of a whole run

Receive = Callable[[str, int, Vectors], None]  # kind, number of the window, its vectors


@dataclass(frozen=True)
class Settings:
    """How to encode. `timeout` is in seconds, without any progress; `sandbox` is one of `bubblewrap.LEVELS`.

    See EncodeRequest for the other fields.
    """

    device: str = "auto"
    batch_tokens: int | None = None
    max_tokens: int | None = None
    max_active_dims: int | None = None
    timeout: float = VERIFY_TIMEOUT
    sandbox: str = "auto"

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "max_tokens", "max_active_dims"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{value} is not a valid --{name.replace('_', '-')}.", "Use 1 or more.")


def encode(
    model: Runnable,
    texts: Mapping[str, Iterable[str]],
    settings: Settings,
    receive: Receive,
    place: Path | None = None,
) -> Encoded:
    """Encode texts by their kind, and give `receive` each window of vectors, in the order of the texts.

    Executes the model's code. Texts and vectors are on disk meanwhile, in a temporary folder in `place`. Raises
    MissingRequirement if sentence-transformers or the device is missing, SourceError without safetensors,
    VerificationError if the child fails.
    """
    check_sentence_transformers("Encoding needs")
    model = model.fetched()
    check_snapshot(model.snapshot, model.files)
    with started(CHILD, settings.device, model.snapshot.readable, settings.sandbox, place) as child:
        # transformers keeps remote code by the folder's name.
        folder = lay_out(model.contents(), child.scratch / f"model-{token_hex(4)}")
        out = child.scratch / "vectors"
        out.mkdir()
        files = {kind: child.scratch / f"{kind}.texts" for kind in texts}
        counts = {kind: _write_texts(files[kind], some) for kind, some in texts.items()}
        asked = EncodeRequest(
            device=settings.device,
            model=str(folder),
            inputs=tuple(Texts(kind, str(path)) for kind, path in files.items()),
            out=str(out),
            window=WINDOW,
            batch_tokens=settings.batch_tokens,
            max_tokens=settings.max_tokens,
            max_active_dims=settings.max_active_dims,
        )
        inbox = _Inbox(out, counts, receive, settings.timeout)
        answer = ask(child, asked, Encoded, _LONGEST, inbox.collect)
        check_available(answer, settings.device)
        if answer.failure is not None:
            raise VerificationError(f"The model can't encode: {answer.failure}.", "Check it with `patcher verify`.")
        inbox.collect()
        if not inbox.complete:
            raise VerificationError(
                "The child process returned fewer vectors than texts.", "Run the same command again."
            )
    return answer


class _Inbox:
    """The child's folder of vectors, from which each file is taken once, in order."""

    def __init__(self, folder: Path, counts: Mapping[str, int], receive: Receive, timeout: float) -> None:
        self._folder, self._receive, self._timeout = folder, receive, timeout
        self._expected = chain.from_iterable(_windows(kind, count) for kind, count in counts.items())
        self._next = next(self._expected, None)
        self._last = time.monotonic()

    @property
    def complete(self) -> bool:
        return self._next is None

    def collect(self) -> None:
        """Take what is there. Raises VerificationError for anything but vectors, and where nothing came for long."""
        while self._next is not None:
            kind, number, texts = self._next
            path = self._folder / chunk_name(kind, number)
            if (content := _read(path)) is None:
                break
            try:
                vectors = Vectors.from_bytes(content, texts)
            except ValueError as error:  # the child ran in the same process as the model's code: it may be anything
                raise VerificationError(
                    f"The child process's vectors can't be read: {error}.", "Run the same command again."
                ) from error
            self._receive(kind, number, vectors)
            path.unlink()
            self._next, self._last = next(self._expected, None), time.monotonic()
        if time.monotonic() - self._last > self._timeout:
            why = f"The model encoded nothing for {self._timeout:.0f} seconds and was stopped."
            raise VerificationError(why, "Increase the limit with --timeout, or use a faster device.")


def _windows(kind: str, count: int) -> Iterator[tuple[str, int, int]]:
    """The kind and number of each window, and how many texts it has."""
    for number, start in enumerate(range(0, count, WINDOW)):
        yield kind, number, min(WINDOW, count - start)


def _write_texts(path: Path, texts: Iterable[str]) -> int:
    """Write one JSON string per line, and return how many there are."""
    number = 0
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps(text) + "\n")
            number += 1
    return number


def _read(path: Path) -> bytes | None:
    """The content of a regular file; None where there is none yet."""
    try:
        with open_written(path) as file:
            return file.read(MAX_CHUNK)
    except FileNotFoundError:
        return None
    except OSError:
        return b""  # a link: no vectors
