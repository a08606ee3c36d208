"""What every command shows in a terminal of 80 columns, with colours and bars on: to be looked at before a release.

    python -m tests.cli.transcript [--out FOLDER] [--trained FOLDER]

Writes `transcript.txt` with its escape sequences and `transcript.html`, on white. With a capped model that
`tests.threshold.demo` trained, the commands for trained models are shown as well.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conftest import MINI, ROOT
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env

COLUMNS, PATCHER = 80, ("-m", "patcher")
SOURCE, TARGET = "ltg/norbert4-mini", "ola/norbert4-mini-splade"
RUNS = "--trust-remote-code --device cpu --no-sparse-encoder"
TEXTS = "".join(f'{{"id": "d{n}", "text": "Hytte nummer {n} ligger ved havet."}}\n' for n in range(40))
# Commands, and what is answered where one asks. FULL is a copy of the miniature's folder, BAD a truncated one.
COMMANDS = (
    ("", ""),
    ("patch --help", ""),
    ("patc", ""),
    ("patch", ""),
    ("plan x --format html", ""),
    (f"plan {SOURCE}", ""),
    (f"plan {SOURCE} --format agent", ""),
    (f"plan {SOURCE} --quiet", ""),
    (f"patch {SOURCE} --out splade --device cpu --no-sparse-encoder", "n\n"),
    (f"patch {SOURCE} --out splade --device cpu --no-sparse-encoder", "y\n"),
    ("plan splade", ""),
    (f"patch {SOURCE} --out splade {RUNS} --quiet", ""),
    (f"verify splade {RUNS} --min-logit-sparsity 1", ""),
    (f"verify splade {RUNS}", ""),
    ("verify bad --trust-remote-code", ""),
    ("verify splade --device cuda", ""),
    ("card splade", ""),
    ("templates mine", ""),
    (f"publish splade {TARGET} --dry-run", ""),
    (f"publish splade {TARGET}", "n\n"),
    (f"publish splade {TARGET} --yes", ""),
    (f"check {TARGET}", ""),
    ("check splade", ""),
    ("threshold splade --trust-remote-code", ""),
    (f"repair {SOURCE} {RUNS} --no-verify", ""),
    ("encode splade texts.jsonl --to qdrant --trust-remote-code --device cpu", ""),
    ("search splade texts.jsonl 'Hvor er hytta?' --top 3 --trust-remote-code --device cpu", ""),
    ("export splade --trust-remote-code", ""),
)
TRAINED = tuple(
    (command, "")
    for command in (
        "plan trained",
        "threshold trained --trust-remote-code --device cpu",
        "threshold trained --threshold 3 --trust-remote-code --device cpu",
        "threshold trained --sweep --save sparse --trust-remote-code --device cpu",
        "evaluate sparse --questions --trust-remote-code --device cpu",
        "publish sparse ola/sparse --yes",
        "check ola/sparse",
    )
)


def run_in_terminal(
    words: list[str], environment: Mapping[str, str], folder: Path, answer: str = "", program: Sequence[str] = PATCHER
) -> tuple[int, str]:
    """The exit code and everything that a process of Python shows in a terminal of its own."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    variables = {**environment, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, *program, *words],
        env={name: value for name, value in variables.items() if name not in {"COLUMNS", "NO_COLOR"}},
        cwd=folder,
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
    )
    os.close(there)
    if answer:
        os.write(here, answer.encode())
    shown = b""
    while True:
        try:
            part = os.read(here, 65536)
        except OSError:  # the last process closed it
            break
        if not part:
            break
        shown += part
    os.close(here)
    return process.wait(), shown.decode("utf-8", "replace").replace("\r\n", "\n")


def main() -> int:
    """Run all commands one after the other and write what they show."""
    parser = argparse.ArgumentParser(prog="python -m tests.cli.transcript", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/transcript"), help="the folder to write")
    parser.add_argument("--trained", type=Path, help="a capped SPLADE model, copied into the folder of the commands")
    given = parser.parse_args()
    out, parts = given.out, []
    with tempfile.TemporaryDirectory() as name, LocalHub(Path(name) / "hub") as hub:
        work = Path(name) / "work"
        work.mkdir()
        (work / "texts.jsonl").write_text(TEXTS)
        hub.add_user("ola", OLA)
        hub.seed(SOURCE, MINI)
        environment = client_env(hub.endpoint, Path(name) / "home", OLA)
        del environment["HF_HUB_DISABLE_PROGRESS_BARS"]
        if given.trained:
            shutil.copytree(given.trained, work / "trained")
        for command, answer in (*COMMANDS, *(TRAINED if given.trained else ())):
            if "bad" in command:
                (work / "bad").mkdir()
                for path in (work / "splade").iterdir():
                    if path.is_file():
                        (work / "bad" / path.name).write_bytes(path.read_bytes()[: 1 << 20])
            code, shown = run_in_terminal(shlex.split(command), environment, work, answer)
            parts.append(f"\x1b[7m$ patcher {command}\x1b[0m\n{shown}\x1b[2m[exit code {code}]\x1b[0m\n\n")
            print(f"{code}  patcher {command}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / "transcript.txt").write_text("".join(parts), "utf-8")
    (out / "transcript.html").write_text(_html("".join(parts)), "utf-8")
    return 0


def _html(shown: str) -> str:
    """The text with its colours, on white."""
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=StringIO())
    for line in shown.split("\n"):
        console.print(Text.from_ansi(line.rpartition("\r")[2]))
    return console.export_html(inline_styles=True)


if __name__ == "__main__":
    raise SystemExit(main())
