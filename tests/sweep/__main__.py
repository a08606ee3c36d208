"""`python -m tests.sweep` compares what is found with `found.txt`; `--update` writes that anew."""

from __future__ import annotations

import argparse
import sys
import time
from difflib import unified_diff

from tests.sweep.sweep import FOUND, parse_all, plan_all, sources, text_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write what was found to found.txt")
    update = parser.parse_args().update
    files = sources()
    start = time.process_time()
    found = text_of(plan_all(files))
    planned = time.process_time() - start
    parse_all(files)
    parsed = time.process_time() - start - planned
    print(f"{len(files)} files: planned in {planned:.1f} s of CPU time, {planned / parsed:.2f} times LibCST's parse.")
    if update:
        FOUND.write_text(found, "utf-8")
        return 0
    before = FOUND.read_text("utf-8") if FOUND.exists() else ""
    diff = unified_diff(before.splitlines(True), found.splitlines(True), str(FOUND.name), "now")
    sys.stdout.writelines(diff)
    return int(before != found)


if __name__ == "__main__":
    raise SystemExit(main())
