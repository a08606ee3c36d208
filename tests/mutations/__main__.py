"""Breaks the code of each check of a verification on purpose, and shows that a test turns red every time.

`python -m tests.mutations` works on a copy. Exit code 1 where a test stays green, or where the code that a mutation
breaks is no longer there; `--list` shows the table and `--only CHECK` runs one part of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.mutations.table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
COPIED = ("patcher", "tests", "templates", "pyproject.toml")
# What pytest's summary says when a behaviour, and not the test itself, is what broke.
RED = re.compile(r"^FAILED .* - (assert|AssertionError|Failed: DID NOT RAISE)", re.MULTILINE)


def pytest(copy: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of the copy, with the copy's own package."""
    nodes = [f"tests/{test}" for test in tests]
    # No bytecode: what a mutation leaves behind could be taken for the next one's.
    variables = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "1000"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rfE", "--tb=no", "-p", "no:cacheprovider", *nodes]
    return subprocess.run(command, cwd=copy, env=os.environ | variables, capture_output=True, text=True)


def verdict(mutation: Mutation, copy: Path) -> str:
    """What the mutation's test does while its code is broken: only a failed assertion is red, a crash is not."""
    place = copy / "patcher" / mutation.file
    right = place.read_bytes()
    place.write_text(mutation.broken_text(copy), "utf-8")
    try:
        done = pytest(copy, [mutation.test])
    finally:
        place.write_bytes(right)
    if done.returncode == 0:
        return "STILL GREEN"
    return "red" if RED.search(done.stdout) else "CRASHED"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", metavar="CHECK", choices=sorted({one.check for one in MUTATIONS}))
    parser.add_argument("--list", action="store_true", help="show what would be broken and run nothing")
    wanted = parser.parse_args()
    chosen = [one for one in MUTATIONS if wanted.only in (None, one.check)]
    if wanted.list:
        for one in chosen:
            print(f"| {one.check} | {one.broken} | {one.test} |")
        return 0
    with tempfile.TemporaryDirectory(prefix="patcher-mutations-") as name:
        for part in COPIED:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, Path(name) / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, name)
        for one in chosen:
            try:
                one.broken_text(Path(name))
            except ValueError as error:
                print(f"{one.check}, {one.broken}: {error}")
                return 1
        unbroken = pytest(Path(name), dict.fromkeys(one.test for one in chosen))
        if unbroken.returncode:
            print(f"The tests have to be green before anything is broken:\n{unbroken.stdout}{unbroken.stderr}")
            return 1
        verdicts = []
        print("| check | what was broken | the test | it is |\n|---|---|---|---|")
        for one in chosen:
            verdicts.append(verdict(one, Path(name)))
            print(f"| {one.check} | {one.broken} | {one.test} | {verdicts[-1]} |", flush=True)
    red = verdicts.count("red")
    print(f"\n{red} of {len(chosen)} mutations turned their test red.")
    return int(red < len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
