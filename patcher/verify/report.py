"""What a verification found: the checks, the figures of both models, and the exact bytes that they are about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from patcher.codec import Unreadable, document, from_json, json_field
from patcher.constants import REPORT
from patcher.errors import OutputError
from patcher.patching.staging import write_atomically
from patcher.source.snapshot import Source


@dataclass(frozen=True)
class Check:
    """One check: `value` was measured and compared with `limit`, `detail` explains both."""

    name: str
    passed: bool
    value: float | None
    limit: float
    detail: str


@dataclass(frozen=True)
class ModeReport:
    """One mode of use (see `measure.modes`). `passed` is None if it was not run; `detail` says why, or what is wrong.

    `error` is the largest |base - cap(patched)| in it.
    """

    name: str
    passed: bool | None
    error: float | None
    detail: str


@dataclass(frozen=True)
class Disagreement:
    """How much the logits of two devices differ at most: `largest`, of which rounding explains `tolerance`.

    `largest` is None where they could not be compared. `between` names the devices; `texts` were compared. `tolerance`
    follows from the coarser `dtype`, the `roundings` of a forward pass and the `largest_logit`.
    """

    largest: float | None
    tolerance: float
    between: tuple[str, str]
    texts: int
    dtype: str
    roundings: int
    largest_logit: float


@dataclass(frozen=True)
class DeviceReport:
    """What was found on a second or further device; the fields are those of `Report`."""

    environment: Mapping[str, Any]
    checks: tuple[Check, ...]
    base: Mapping[str, Any] = json_field(key="before")
    patched: Mapping[str, Any] = json_field(key="after")
    sparse_encoder: Mapping[str, Any] | None = None
    modes: tuple[ModeReport, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A verification. `base` and `patched` are the figures of both models, by name.

    `files` maps each file of the folder to its SHA-256 at that time, so that the report can't be shown for other bytes.
    `probe_texts` are the first texts with their strongest terms. With several devices, the first one is described here,
    the others in `more_devices`, and `disagreement` says how much their logits differ.
    """

    json_properties: ClassVar[tuple[str, ...]] = ("passed", "seal")

    source: Source
    environment: Mapping[str, Any]
    checks: tuple[Check, ...]
    base: Mapping[str, Any] = json_field(key="before")
    patched: Mapping[str, Any] = json_field(key="after")
    texts: int
    sparse_encoder: Mapping[str, Any] | None = None
    probe_texts: tuple[Mapping[str, Any], ...] = ()
    more_devices: tuple[DeviceReport, ...] = ()
    disagreement: Disagreement | None = None
    modes: tuple[ModeReport, ...] = ()
    files: Mapping[str, str]

    @property
    def devices(self) -> tuple[Report | DeviceReport, ...]:
        """What was found on each device, the leading one first: this report itself, then `more_devices`."""
        return (self, *self.more_devices)

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """The checks of every device."""
        return tuple(check for device in self.devices for check in device.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass on some device, each name once."""
        found: dict[str, Check] = {}
        for check in self.all_checks:
            if not check.passed:
                found.setdefault(check.name, check)
        return tuple(found.values())

    @property
    def passed(self) -> bool:
        """Whether there are checks and none failed."""
        return bool(self.checks) and not self.failed

    @property
    def seal(self) -> str:
        """SHA-256 of the other fields: it reveals an edit, not its author."""
        return seal(document(_Unsealed(**{one.name: getattr(self, one.name) for one in fields(self)})))

    def write(self, folder: Path) -> None:
        """Write report.json into the folder, atomically: a line for each key, and for each entry of a list."""
        lines = (f'"{key}": {_lines(value)}' for key, value in document(self).items())
        text = "{\n" + ",\n".join(lines) + "\n}"
        write_atomically(folder / REPORT, text + "\n")


def _lines(value: Any) -> str:
    dump = partial(json.dumps, allow_nan=False, separators=(",", ": "))
    is_list = isinstance(value, list) and any(isinstance(one, dict) for one in value)
    return "[\n" + ",\n".join(map(dump, value)) + "\n]" if is_list else dump(value)


@dataclass(frozen=True, kw_only=True)
class _Unsealed(Report):
    """A report whose document has no seal yet."""

    json_properties: ClassVar[tuple[str, ...]] = ("passed",)


def seal(body: Mapping[str, Any]) -> str:
    """SHA-256 of a report without its seal, whatever the layout of the file."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def document_of(report: Report | None) -> dict[str, Any] | None:
    """The document of a report within another one; None without a report."""
    return document(report) if report is not None else None


def load_report(folder: Path) -> Report | None:
    """The last report of a patched folder, or None. Raises OutputError if report.json can't be read as one."""
    path = folder / REPORT
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_bytes())
        report = from_json(Report, data)
        if report.passed is not data["passed"]:
            raise Unreadable("the verdict contradicts the checks")
        if data.get("seal") != seal({key: value for key, value in data.items() if key != "seal"}):
            raise Unreadable("the report was edited")
    except (ValueError, KeyError, RecursionError) as error:
        raise OutputError(f"{path} can't be read as a report.", f"Run `patcher verify {folder}` again.") from error
    return report
