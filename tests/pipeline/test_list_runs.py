"""How a list runs: what it says first, what it does at once, and that it goes on wherever it was killed."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from patcher.cli import tables
from patcher.cli.console import Table
from patcher.codec import to_json
from patcher.pipeline import family
from patcher.pipeline.api import Patched
from patcher.pipeline.disk import Need
from patcher.pipeline.family import PATCHED, SKIPPED, Entry, Outcome, Outcomes, inspect_entries, patch_all
from patcher.planning.options import Options
from patcher.planning.plan import Plan
from patcher.sandbox import guard
from patcher.source.snapshot import Snapshot
from patcher.verify.settings import CHILD, Verification
from patcher.verify.texts import load_probe_texts
from tests.conftest import MINI, ROOT, Run
from tests.hub import LocalHub
from tests.hub.hooks import Phase
from tests.hub.traffic import RequestRecord
from tests.patching.writing import is_whole
from tests.publish.tools import source_files
from tests.sandbox.stand_in import answer_with
from tests.verify.made_up import GOOD, judged

WEIGHTS, NAMES = "model.safetensors", ("one", "two")


def two_entries(out: Path) -> tuple[Entry, ...]:
    return inspect_entries([Entry(str(MINI), out / name) for name in NAMES], Options())


@pytest.mark.parametrize("discard", [False, True])
def test_the_next_model_is_downloaded_while_the_present_one_runs_unless_room_is_to_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, discard: bool
) -> None:
    entries, ahead = two_entries(tmp_path), threading.Event()
    seen: dict[str, bool] = {}

    def fetch(snapshot: Snapshot, paths: list[str]) -> None:
        assert snapshot is entries[1].snapshot and WEIGHTS in paths
        ahead.set()

    def patch(plan: Plan, _: Snapshot, out: Path, *__: Any, **___: Any) -> Patched:
        seen[out.name] = ahead.wait(0.3 if discard else 60)
        return Patched(out, plan, None)

    monkeypatch.setattr(family, "fetch", fetch)
    monkeypatch.setattr(family, "patch_model", patch)
    done = patch_all(entries, None, discard_weights=discard)
    assert done.passed and seen == dict.fromkeys(NAMES, not discard)


def test_it_says_what_it_needs_before_it_begins_and_starts_one_child_for_each_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = two_entries(tmp_path)
    answer_with(monkeypatch, to_json(GOOD))
    start, begun = guard._start, []

    def counted(module: str, *words: Any) -> guard.Child:
        begun.append(module)
        return start(module, *words)

    monkeypatch.setattr(guard, "_start", counted)
    with caplog.at_level(logging.INFO):
        done = patch_all(entries, Verification(load_probe_texts(), ("cpu",)), "copy")
    assert [one.status for one in done.all] == [PATCHED] * 2 and begun == [CHILD] * 2
    said = [message for message in caplog.messages if not message.startswith("Running")]
    size = 2 * (MINI / WEIGHTS).stat().st_size / 1e6
    assert said[0].startswith("This list needs 0 B to download and ") and size < float(said[0].split()[8]) < size + 3
    assert [message[:14] for message in said[1:]] == ["[1/2] Patching", "[2/2] Patching"]


def test_the_table_has_bytes_seconds_and_verdict_of_each_model() -> None:
    entry = Entry("me/one", Path("out/one"))
    report = judged(GOOD)
    outcomes = [
        Outcome(entry, "me/one@1", PATCHED, 12.34, report=report, need=Need(5_000_000, 7_000_000)),
        Outcome(entry, "me/two@1", family.NOT_DONE, 0.04, "No room.", "Make some."),
    ]
    shown = list(tables.family(Outcomes(tuple(outcomes))))
    ended, costs = (one.rows for one in shown if isinstance(one, Table))
    checks = len(report.all_checks)
    assert [row[:3] for row in ended] == [
        ("me/one@1", PATCHED, f"{checks}/{checks}"),
        ("me/two@1", family.NOT_DONE, outcomes[1].checks),
    ]
    assert list(costs) == [("me/one", "12.3", "5.0 MB", "7.0 MB"), ("me/two", "0.0", "0 B", "0 B")]
    assert "me/two@1: No room." in shown


# Killed, and run again

KILLED_IN = {
    "a download": ([], ""),
    "a verification": (
        ["--trust-remote-code", "--no-sparse-encoder", "--device", "cpu"],
        "from patcher.pipeline import api\nbegun = []\n"
        "api.run = lambda *_: begun.append(1) or (kill() if len(begun) == 2 else None)",
    ),
    "two at once": (
        ["--no-verify", "--jobs", "2"],
        "from patcher.patching import staging\nimport threading\nbegun = threading.Barrier(2)\n"
        "staging._move_into_place = lambda *_: begun.wait(60) == 0 and kill() or threading.Event().wait()",
    ),
    "discarding, when the folder has no weights any more": (
        ["--no-verify", "--discard-weights"],
        "from patcher.pipeline import disk\ndisk._steps = kill",
    ),
    "discarding, when the cache has a link to nothing": (
        ["--no-verify", "--discard-weights"],
        "from patcher.pipeline import disk\nsteps = disk._steps\n"
        "class Stopped(list):\n"
        "    def __reversed__(self):\n        yield self[-1]\n        kill()\n"
        "disk._steps = lambda path: Stopped(steps(path))",
    ),
}
PROGRAM = """
import os, signal, sys
from patcher.cli import main
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
{}
sys.exit(main(sys.argv[1:]))
"""


def kill_in_download(hub: LocalHub, process: subprocess.Popen[bytes], blob: str, first: Path) -> None:
    """End the process when it asks for a file and the first model is done: it does both at once."""

    def watch(record: RequestRecord, phase: Phase) -> bool:
        if record.method != "GET" or blob not in record.path:
            return False
        deadline = time.monotonic() + 120
        while not first.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        return True

    hub.on_request = watch


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("moment", KILLED_IN)
def test_a_list_that_was_killed_is_resumed(
    hub: LocalHub, hub_env: dict[str, str], cli: Run, tmp_path: Path, moment: str
) -> None:
    """What is done stays done, the rest is made, and nothing half is left."""
    hub.add_user("ltg", "hf_ltg")
    weights = {
        name: save({"classifier.weight": np.full(300_000, number, np.float32)}) for number, name in enumerate(NAMES)
    }
    for name in NAMES:
        hub.create_repo(f"ltg/{name}", source_files(weights[name]))
    listed, out = tmp_path / "list.txt", tmp_path / "out"
    listed.write_text("".join(f"ltg/{name}\n" for name in NAMES))
    options, code = KILLED_IN[moment]
    command = ["patch", "--all", listed, "--out", out]
    environment = hub_env | {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_SYMLINKS_WARNING": "1"}
    words = [sys.executable, "-c", PROGRAM.format(code), *command, *(options or ["--no-verify"])]
    with subprocess.Popen(list(map(str, words)), env=environment, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        if moment == "a download":
            blob = hub.files("ltg/two")[WEIGHTS]
            kill_in_download(hub, process, blob.sha256, out / "one-splade")
        said = process.stderr.read().decode() if process.stderr else ""
    hub.on_request = None
    assert process.returncode == -signal.SIGKILL, said
    made = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert "two-splade" not in made, "it was killed in the middle"

    discard = [option for option in options if option == "--discard-weights"]
    again = cli(*command, "--no-verify", *discard, "--json", **environment)
    assert again.returncode == 0, again.stdout
    assert ("one-splade" in made) is (moment in {"a download", "a verification"})
    statuses = [one["status"] for one in json.loads(again.stdout)["results"]]
    assert statuses == [SKIPPED if "one-splade" in made else PATCHED, PATCHED]
    assert sorted(path.name for path in out.iterdir()) == ["one-splade", "two-splade"]
    for name in NAMES:
        folder = out / f"{name}-splade"
        assert not (folder / WEIGHTS).exists() if discard else is_whole(folder)
        assert discard or (folder / WEIGHTS).read_bytes() == weights[name]
    cache = Path(hub_env["HF_HOME"])
    assert not [path for path in cache.rglob("*") if path.is_symlink() and not path.exists()]
