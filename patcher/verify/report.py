"""What a verification found: the checks, the figures before and after, and the exact bytes they are about."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.codec import to_json
from patcher.constants import REPORT, SCHEMA_VERSION
from patcher.errors import OutputError
from patcher.source.snapshot import Source


@dataclass(frozen=True)
class Check:
    """One check: `value` was measured, `limit` is what it is held against, `detail` says both in words."""

    name: str
    passed: bool
    value: float | None
    limit: float
    detail: str

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "value": self.value,
            "limit": self.limit,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class DeviceReport:
    """What was found on a second or further device; the fields are those of `Report`."""

    environment: Mapping[str, Any]
    checks: tuple[Check, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    sparse_encoder: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "environment": dict(self.environment),
            "checks": [check.as_json() for check in self.checks],
            "before": self.before,
            "after": self.after,
            "sparse_encoder": self.sparse_encoder,
        }


@dataclass(frozen=True)
class Report:
    """A verification. `before` and `after` are figures of the capped and of the patched model (see `Figures`).

    `files` maps each file of the folder to its SHA-256 at the time, so that the report can't be shown for other bytes.
    `probe_texts` are the first texts with their strongest terms. Where several devices were asked for, the first one
    stands here, the others in `more_devices`, and `disagreement` says how far their logits lie apart.
    """

    source: Source
    environment: Mapping[str, Any]
    checks: tuple[Check, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    files: Mapping[str, str]
    texts: int
    sparse_encoder: Mapping[str, Any] | None = None
    probe_texts: tuple[Mapping[str, Any], ...] = ()
    more_devices: tuple[DeviceReport, ...] = ()
    disagreement: Mapping[str, Any] | None = None

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
        """The checks that did not pass, on whichever device, each name once."""
        found: dict[str, Check] = {}
        for check in self.all_checks:
            if not check.passed:
                found.setdefault(check.name, check)
        return tuple(found.values())

    @property
    def passed(self) -> bool:
        """Whether there are checks and none failed."""
        return bool(self.checks) and not self.failed

    def as_json(self) -> dict[str, Any]:
        """The report as report.json holds it. `seal` is the SHA-256 of the rest: it shows an edit, not who made it."""
        body = self._body()
        return {**body, "seal": seal(body)}

    def _body(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": self.passed,
            "source": to_json(self.source),
            "environment": dict(self.environment),
            "checks": [check.as_json() for check in self.checks],
            "before": self.before,
            "after": self.after,
            "texts": self.texts,
            "sparse_encoder": self.sparse_encoder,
            "probe_texts": list(self.probe_texts),
            "more_devices": [device.as_json() for device in self.more_devices],
            "disagreement": self.disagreement,
            "files": dict(self.files),
        }

    def write(self, folder: Path) -> None:
        """Write report.json into the folder, whole or not at all."""
        part = folder / f".{REPORT}.partial"
        text = json.dumps(self.as_json(), indent=1, allow_nan=False)
        # A list of plain values on one line: half the file, and the terms can be read. No string holds a line break.
        text = re.sub(r"\[[^][{}]*\]", lambda found: re.sub(r"\n *", " ", found[0]), text)
        part.write_text(text + "\n", "utf-8")
        part.replace(folder / REPORT)


def seal(body: Mapping[str, Any]) -> str:
    """SHA-256 of a report without its seal, whatever the layout of the file."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def is_sealed(data: Mapping[str, Any]) -> bool:
    """Whether nobody edited a report, as read from its file."""
    return bool(seal({key: value for key, value in data.items() if key != "seal"}) == data.get("seal"))


def load_report(folder: Path) -> Report | None:
    """The last report of a patched folder, or None. Raises OutputError where report.json can't be understood."""
    path = folder / REPORT
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text("utf-8"))
        report = Report(
            source=Source(**data["source"]),
            environment=data["environment"],
            checks=tuple(Check(**check) for check in data["checks"]),
            before=data["before"],
            after=data["after"],
            files=data["files"],
            texts=data["texts"],
            sparse_encoder=data.get("sparse_encoder"),
            probe_texts=tuple(data.get("probe_texts", ())),
            more_devices=tuple(
                DeviceReport(**{**device, "checks": tuple(Check(**check) for check in device["checks"])})
                for device in data.get("more_devices", ())
            ),
            disagreement=data.get("disagreement"),
        )
        if report.passed is not data["passed"]:
            raise ValueError("the verdict contradicts the checks")
        if not is_sealed(data):
            raise ValueError("the report was edited")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path} can't be read as a report.", f"Run `patcher verify {folder}` again.") from error
    return report
