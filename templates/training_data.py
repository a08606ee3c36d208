"""Reads the sets of rows with the `datasets` library: memory-mapped from the file to the trainer, never as a list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_config import Config, DataSet

from patcher.errors import SourceError

if TYPE_CHECKING:
    from datasets import Dataset

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv"}
QUERY, POSITIVE, NEGATIVE, SCORE = "query", "positive", "negative_{}", "score"
FIRST_ROWS = 10
FILTERED_ROWS = 1000  # the first rows, where a filter or a language chooses among them
# What is read at once of a file for its first rows; the library's own is 10 MB, and as much as a row group of Parquet.
SMALL = {"json": {"chunksize": 1 << 16}, "csv": {"chunksize": 100}, "parquet": {"batch_size": 100}}
BATCH = 1000  # rows that are looked at together
SHOWN_VALUES = 10


@dataclass(frozen=True)
class Rows:
    """The rows of all sets by name: for training, with columns in the order that losses expect, and held out as read.

    `counts` says of each set how many rows were read, left out, trained on and held out.
    """

    train: Mapping[str, Dataset]
    held_out: Mapping[str, tuple[DataSet, Dataset]]
    counts: Mapping[str, Mapping[str, int]]


def read_sets(config: Config) -> Rows:
    """Read all sets, after a look at the first rows of each. Raises SourceError."""
    for one in config.datasets:
        check_first_rows(one)
    train, held_out, counts = {}, {}, {}
    for one in config.datasets:
        kept, held, counts[one.name] = read_set(one, config)
        if held is not None:
            held_out[one.name] = (one, held)
        if kept is not None:
            train[one.name] = kept
    if not train:
        raise SourceError("datasets: every set is held out.", "Give one set an eval_share below 1.")
    return Rows(train, held_out, counts)


def check_first_rows(data: DataSet) -> None:
    """Refuse a set whose first rows lack a column, or hold no text where one is needed, before anything is loaded."""
    stream = _open(data, streaming=True)
    try:
        rows = list(islice(stream, FILTERED_ROWS if data.filter or data.language else FIRST_ROWS))
    except Exception as error:  # a file of another format, or a connection that broke
        raise _unreadable(data, error) from error
    if not rows:
        raise _refusal(data, "has no rows", "Check its source and split.")
    columns = data.columns
    _check_columns(data, list(rows[0]))
    for name in (columns.query, columns.positive):
        values = [row[name] for row in rows if row[name] is not None]
        if not all(isinstance(value, str) for value in values):
            raise _refusal(data, f"holds {values[0]!r:.60} in {name}, which is not a string", "Choose another column.")
    scores = [row[columns.score] for row in rows if row[columns.score] is not None] if columns.score else []
    for value in scores:
        if not all(isinstance(one, (int, float)) for one in _listed(value)):
            why = f"holds {value!r:.60} in {columns.score}, which is neither a number nor a list of numbers"
            raise _refusal(data, why, "Choose another column.")
    for name, wanted in _filters(data, list(rows[0])).items():
        _check_first_matches(data, name, wanted, [row[name] for row in rows])


def _check_first_matches(data: DataSet, name: str, wanted: Any, values: list[Any]) -> None:
    """Refuse a filter that can match no row, and say so where none of the first rows matches: that may be the order."""
    allowed, found = _listed(wanted), [value for value in values if value is not None]
    if any(value in allowed for value in found):
        return
    if found and not {isinstance(value, str) for value in allowed} & {isinstance(value, str) for value in found}:
        why = f"holds {found[0]!r:.60} in {name}, which can't equal {allowed[0]!r}"
        raise _refusal(data, why, "Write the value as the rows have it, with quotes or without.")
    if len(values) < FILTERED_ROWS:
        raise _no_match(data, name, allowed, found)
    what = f"{name} {' or '.join(map(str, allowed))}"
    print(f"Note: datasets.{data.name}: none of its first {len(values)} rows has {what}.", file=sys.stderr)


def read_set(data: DataSet, config: Config) -> tuple[Dataset | None, Dataset | None, dict[str, int]]:
    """The rows to train on, the rows held out, and what became of the others."""
    rows = _open(data)
    columns, total = data.columns, len(rows)
    _check_columns(data, rows.column_names)
    for name, wanted in _filters(data, rows.column_names).items():
        rows = _filtered(data, rows, name, wanted)
    matching = len(rows)
    rows = _keep(rows, [columns.query, columns.positive], _have_texts)
    counts = {"read": total, "not matching": total - matching, "without query or positive": matching - len(rows)}
    if data.max_rows is not None and data.max_rows < len(rows):
        rows = rows.shuffle(seed=config.training["seed"]).select(range(data.max_rows))
    if not len(rows):
        raise _refusal(data, "has no row left", "Check its filter, language and columns.")
    kept, held = _split(rows, data, config.training["seed"])
    counts["whose query is held out"] = len(rows) - len(kept or ()) - len(held or ())
    if kept is not None:
        split = len(kept)
        teacher = config.loss_of(data).base != "SparseMultipleNegativesRankingLoss"
        kept, filled = _with_roles(kept, data, teacher=teacher)
        if not len(kept):
            why = "has no row with a score and all its negatives"
            raise _refusal(data, why, "Check its columns, or lower its max_negatives.")
        counts["without a score or all their negatives"] = split - len(kept)
        counts["filled up with passages of other rows"] = filled
    counts |= {"trained on": len(kept or ()), "held out": len(held or ())}
    return kept, held, counts


def say_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    """One line for each set, of the figures that are not zero."""
    for name, found in counts.items():
        print(f"{name}: {', '.join(f'{n} {what}' for what, n in found.items() if n)}", file=sys.stderr)


def _open(data: DataSet, *, streaming: bool = False) -> Any:
    from datasets import disable_caching, disable_progress_bars, load_dataset

    disable_caching()  # its key is a function's name: edit one here, and the rows of before would come back
    if not sys.stderr.isatty():
        disable_progress_bars()
    path = Path(data.source).expanduser()
    kind = FORMATS.get(path.suffix)
    if kind and not path.is_file():
        raise _refusal(
            data, "can't be read: there is no such file", "Set its source to a file, or to an id on the Hub."
        )
    try:
        if kind:
            options: dict[str, Any] = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
            options |= SMALL[kind] if streaming else {}
            return load_dataset(kind, data_files=str(path), split="train", streaming=streaming, **options)
        return load_dataset(data.source, data.configuration, split=data.split, streaming=streaming)
    except Exception as error:  # a data set fails in as many ways as there are formats
        raise _unreadable(data, error) from error


def _check_columns(data: DataSet, found: list[str]) -> None:
    columns = data.columns
    for name in filter(None, (columns.query, columns.positive, *columns.negatives, columns.score, *data.filter)):
        if name not in found:
            near = get_close_matches(name, found, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Its columns are {', '.join(found)}."
            raise _refusal(data, f"has no column {name}", hint)


def _filters(data: DataSet, columns: Sequence[str]) -> dict[str, Any]:
    """The filter, and the languages where the rows say theirs."""
    named = data.language and "language" in columns
    return {**({"language": data.language} if named else {}), **data.filter}


def _filtered(data: DataSet, rows: Dataset, name: str, wanted: Any) -> Dataset:
    allowed = _listed(wanted)
    kept = _keep(rows, [name], lambda column: [value in allowed for value in column.to_pylist()])
    if not len(kept):
        raise _no_match(data, name, allowed, rows.unique(name))
    return kept


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _no_match(data: DataSet, name: str, allowed: list[Any], values: list[Any]) -> SourceError:
    shown = sorted(set(map(str, values)))
    more = ", …" if len(shown) > SHOWN_VALUES else ""
    hint = f"{name} is one of {', '.join(shown[:SHOWN_VALUES])}{more}."
    return _refusal(data, f"has no row with {name} {' or '.join(map(str, allowed))}", hint)


def _keep(rows: Dataset, names: list[str], wanted: Callable[..., Iterable[bool]]) -> Dataset:
    """The rows for which `wanted` is true of the columns; the very same object where that is all of them.

    `wanted` takes Arrow arrays: what it does not look at is not read from the file.
    """
    batches = rows.select_columns(names).with_format("arrow").iter(batch_size=BATCH)
    mask = [bool(kept) for batch in batches for kept in wanted(*(batch.column(name) for name in names))]
    return rows if all(mask) else rows.select([index for index, kept in enumerate(mask) if kept])


def _have_texts(*columns: Any) -> Iterator[bool]:
    """Whether all columns of a row hold a text that is not empty; only the lengths are read."""
    import pyarrow.compute as pc

    def lengths(column: Any) -> list[int | None]:
        return pc.binary_length(column.cast("string") if column.type == "null" else column).to_pylist()

    return map(all, zip(*map(lengths, columns), strict=True))


def _split(rows: Dataset, data: DataSet, seed: int) -> tuple[Dataset | None, Dataset | None]:
    """The rows to train on and those held out. No query that is held out is trained on."""
    share = data.eval_share
    if share == 0:
        return rows, None
    count = int(share) if share > 1 else max(1, round(share * len(rows)))
    if count >= len(rows):
        return None, rows
    parts = rows.train_test_split(test_size=count, seed=seed)
    held = set(parts["test"][data.columns.query])
    kept = _keep(parts["train"], [data.columns.query], lambda found: [one not in held for one in found.to_pylist()])
    return (kept if len(kept) else None), parts["test"]


def _with_roles(rows: Dataset, data: DataSet, *, teacher: bool) -> tuple[Dataset, int]:
    """The rows with the columns query, positive, negative_1 and so on, and score; and how many rows were filled up.

    A row that lacks negatives gets passages of other rows, which every other row of its batch is to it anyway.
    Where a teacher scored the passages no other one can stand in: such a row is left out, and one without a score too.
    """
    columns = data.columns
    texts = all(_is_text(rows, name) for name in columns.negatives)
    most = len(columns.negatives) if texts else _most_negatives(rows, columns.negatives)
    count = min(most, data.max_negatives or most)
    direct = texts and count == most  # each column becomes one
    score = [columns.score] if teacher and columns.score else []
    complete = _keep(rows, score, lambda found: [one is not None for one in found.to_pylist()]) if score else rows
    if direct and count:
        complete = _keep(complete, columns.negatives, _have_texts)
    elif count:
        complete = _keep(complete, columns.negatives, lambda *found: [len(one) >= count for one in _arrow_texts(found)])
    rows = complete if teacher else rows
    filled = len(rows) - len(complete)
    names = [columns.query, columns.positive, *columns.negatives[:count]]
    roles = [QUERY, POSITIVE, *(NEGATIVE.format(n) for n in range(1, count + 1))]
    if count and (filled or not direct):
        rows, names = _arranged(rows, data, roles, score), roles
    rows = rows.select_columns([*names, *score])
    return rows.rename_columns(dict(zip([*names, *score], [*roles, SCORE], strict=False))), filled


def _is_text(rows: Dataset, name: str) -> bool:
    return getattr(rows.features[name], "dtype", "") in ("string", "large_string", "null")


def _texts(columns: Sequence[list[Any]]) -> Iterator[list[str]]:
    """The texts of each row, out of columns of texts and of lists of texts."""
    for row in zip(*columns, strict=True):
        values = chain.from_iterable(value if isinstance(value, list) else [value] for value in row)
        yield [value for value in values if isinstance(value, str) and value]


def _arrow_texts(columns: Sequence[Any]) -> Iterator[list[str]]:
    return _texts([column.to_pylist() for column in columns])


def _most_negatives(rows: Dataset, names: list[str]) -> int:
    batches = rows.select_columns(names).with_format("arrow").iter(batch_size=BATCH)
    return max(len(negatives) for batch in batches for negatives in _arrow_texts(batch.columns))


def _arranged(rows: Dataset, data: DataSet, roles: list[str], score: list[str]) -> Dataset:
    """The rows with as many columns of negatives as `roles` names, written to a file that is mapped in turn."""
    columns, count = data.columns, len(roles) - 2
    first = rows.select(range(min(len(rows), count + FIRST_ROWS)))
    spare = list(zip(first[columns.query], first[columns.positive], strict=True))

    def arrange(batch: Mapping[str, list[Any]]) -> dict[str, list[str]]:
        pairs = list(zip(batch[columns.query], batch[columns.positive], strict=True))
        given = list(_texts([batch[name] for name in columns.negatives]))
        found = [negatives[:count] for negatives in given]
        others = [*pairs, *spare]
        for index, ((query, positive), texts) in enumerate(zip(pairs, found, strict=True)):
            for other, passage in islice(cycle(others), index + 1, index + len(others)):
                if len(texts) == count:
                    break
                if other != query and passage not in (positive, *texts):
                    texts.append(passage)
            if len(texts) < count:
                raise _refusal(data, "has too few passages to fill up its negatives", "Leave columns.negatives empty.")
        arranged = [*map(list, zip(*pairs, strict=True)), *map(list, zip(*found, strict=True))]
        return dict(zip(roles, arranged, strict=True)) | {
            name: [_cut(one, len(own) - count) for one, own in zip(batch[name], given, strict=True)] for name in score
        }

    return rows.map(arrange, batched=True, remove_columns=[name for name in rows.column_names if name not in score])


def _cut(score: Any, dropped: int) -> Any:
    """The scores without those of the last negatives, which were dropped."""
    return score[: len(score) - dropped] if isinstance(score, list) else score


def _refusal(data: DataSet, why: str, hint: str) -> SourceError:
    return SourceError(f"datasets.{data.name}: {data.source} {why}.", hint)


def _unreadable(data: DataSet, error: Exception) -> SourceError:
    cause = error.__cause__ or error  # the library's own is "an error occurred while generating the dataset"
    reason = " ".join(str(cause).split())
    return _refusal(data, f"can't be loaded: {reason[:300]}", "Check its source, configuration and split.")
