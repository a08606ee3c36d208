"""Retrieval tasks of mteb by their names: its own object, or the texts and judgements in it.

https://embeddings-benchmark.github.io/mteb/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from patcher.errors import MissingRequirement, PatcherError, SourceError, UsageError
from patcher.source.hub_errors import from_hub, status_of
from patcher.verify.texts.beir import SPLITS, Retrieval

if TYPE_CHECKING:
    from mteb import AbsTask


def check_packages(needed: Mapping[str, str]) -> None:
    """Raise MissingRequirement unless these modules are installed; the values are the names of their packages."""
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        why = f"Evaluating needs {', '.join(missing)}, which {verb} not installed."
        raise MissingRequirement(why, f"pip install {' '.join(missing)}")


def find_task(name: str) -> AbsTask:
    """The retrieval task of that name. Raises UsageError where mteb has none."""
    import mteb

    try:
        task = mteb.get_task(name)
    except (KeyError, ValueError) as error:
        hint = "mteb's documentation lists its tasks: https://embeddings-benchmark.github.io/mteb/"
        raise UsageError(f"mteb has no task {name!r}.", hint) from error
    if task.metadata.type != "Retrieval":
        raise UsageError(f"{name} is a {task.metadata.type} task.", "Use retrieval tasks.")
    return task


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn what mteb and datasets raise while they load and evaluate the data of a task into SourceError."""
    try:
        yield
    except PatcherError:
        raise
    except Exception as error:  # a dataset fails in as many ways as there are formats
        if status_of(error) in {401, 403}:
            raise from_hub(error, f"the data of {name}") from error
        reason = " ".join(str(error).split())[:300]
        hint = "Check the connection: offline, only cached datasets can be loaded."
        raise SourceError(f"{name} can't be evaluated: {reason}.", hint) from error


def read_task(name: str) -> Retrieval:
    """The documents, queries and judgements of a task that has one subset.

    Raises MissingRequirement without mteb, UsageError for a task that is none or has several subsets, and SourceError
    for data that can't be loaded.
    """
    check_packages({"mteb": "mteb"})
    return read_data(find_task(name))


def read_data(task: Any) -> Retrieval:
    """The same of mteb's object. Of several splits the first of `beir.SPLITS` is read."""
    name = task.metadata.name
    if len(task.hf_subsets) > 1:
        why = f"{name} has {len(task.hf_subsets)} subsets, {', '.join(task.hf_subsets[:3])} and so on."
        raise UsageError(why, "Use a task in one language; `patcher evaluate --task` takes this one.")
    with loading(name):
        task.load_data()
        task.convert_v1_dataset_format_to_v2(None)
        (splits,) = task.dataset.values()
        split = next((one for one in SPLITS if one in splits), next(iter(splits)))
        found = splits[split]
        documents = {row["id"]: document_text(row) for row in found["corpus"]}
        queries = {row["id"]: row["text"] for row in found["queries"]}
        judged, left_out = dict[str, dict[str, float]](), 0
        for query, grades in found["relevant_docs"].items():
            there = {key: grade for key, grade in grades.items() if query in queries and key in documents}
            left_out += len(grades) - len(there)
            if any(grade > 0 for grade in there.values()):
                judged[query] = there
        return Retrieval(name, split, documents, queries, judged, left_out)


def document_text(row: Mapping[str, str]) -> str:
    """A document as mteb's own encoders get it: its title, if it has one, before its text."""
    return f"{row.get('title') or ''} {row['text']}".strip()
