"""The whole road on one machine: a model on a Hub, patched, verified, described, published and checked.

`make demo` runs this. The Hub is the local one of the tests, with the bundled miniature on it; everything else is the
real thing: the real client over HTTP, real weights, the commands as a user types them.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from tests.hub import LocalHub
from tests.hub.fixtures import client_env

MINI = Path(__file__).parent / "snapshots" / "norbert4-mini"
SOURCE, TARGET = "ltg/norbert4-mini", "demo/norbert4-mini-splade"
# The README's lines of Python, on the published model.
USE = f"""from sentence_transformers import SparseEncoder

model = SparseEncoder("{TARGET}", trust_remote_code=True)
embeddings = model.encode(["Hva er hovedstaden i Norge?", "Oslo er hovedstaden i Norge."])
print(SparseEncoder.sparsity(embeddings), model.decode(embeddings, top_k=8))"""


def main() -> int:
    """Run the commands one after the other; the first that fails ends it with its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--out", default="build/norbert4-mini-splade", help="the folder to write")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name, LocalHub(Path(name) / "hub") as hub:
        hub.add_user("demo", "hf_token_of_the_demo")
        commit = hub.seed(SOURCE, MINI)
        environment = client_env(hub.endpoint, Path(name) / "home", "hf_token_of_the_demo") | {
            "PYTHONWARNINGS": "ignore"
        }
        print(f"A local Hub is running with {SOURCE} on it, at commit {commit[:7]}.", flush=True)
        for command in (
            f"patcher patch {SOURCE} --out {out} --trust-remote-code --sparse-encoder --device cpu",
            f"patcher publish {out} {TARGET} --tag v1 --dry-run",
            f"patcher publish {out} {TARGET} --tag v1 --yes",
            f"patcher check {TARGET}",
        ):
            print(f"\n$ {command}", flush=True)
            hub.reset_counters()
            done = subprocess.run([sys.executable, "-m", *shlex.split(command)], env=environment)
            if done.returncode:
                return done.returncode
            if command.endswith("--yes"):
                weights = (MINI / "model.safetensors").stat().st_size
                print(
                    f"\nThe Hub received {hub.counters.uploaded:,} bytes in all; the {weights:,} bytes of weights "
                    "it copied itself.",
                    flush=True,
                )
        print(f"\n{textwrap.indent(USE, '>>> ', bool)}", flush=True)
        done = subprocess.run([sys.executable, "-c", USE], env=environment)
        if done.returncode:
            return done.returncode
    print(f"\nThe patched model is in {out}; its card is {os.path.join(out, 'README.md')}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
