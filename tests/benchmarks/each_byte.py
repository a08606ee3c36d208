"""Bytes and requests of each command, against one pass over the weights and against two peers, as a table.

    python -m tests.benchmarks.each_byte [--shape base|xlarge]

Every command is a process of its own, against the local Hub, with the source in the Hub's cache and no page of any
weights in memory. The columns:

read       bytes that the processes asked for with read calls (rchar of /proc/<pid>/io), libraries and Python included;
           of what bubblewrap confines, as last seen
mapped     bytes of weights that they touched through memory maps, which rchar does not count: the largest resident part
           of each map (Rss of smaps), seen every 20 ms. A map that is opened anew for each tensor counts only with its
           largest part, so a second pass in that manner is not in it.
disk       bytes that came from the disk (read_bytes): each page once, whether a call or a map asked for it
written    bytes given to write calls (wchar), sockets included
hashed     bytes given to hashlib's SHA-256 in blocks of at least 64 kB; Xet's own hashes are not in it
requests   at the local Hub
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.patching.record import load
from tests.benchmarks import table
from tests.benchmarks.processes import ROOT, _family, python
from tests.benchmarks.shapes import BASE, XLARGE, Shape, write_source
from tests.benchmarks.table import Comparison
from tests.benchmarks.workshop import PROGRAMS, Workshop
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env

SOURCE, WEIGHTS, CPU = "ltg/model", "model.safetensors", ("--trust-remote-code", "--no-sparse-encoder", "--device=cpu")
MAX_WRITTEN = 50_000_000
DOWNLOAD = "import sys; from huggingface_hub import snapshot_download as get; get(sys.argv[1])"
QUIET = {"PYTHONWARNINGS": "ignore", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Row:
    """What one command needed, in bytes and requests."""

    name: str
    read: int
    mapped: int
    disk: int
    written: int
    hashed: int
    requests: int

    @property
    def passes(self) -> int:
        """Bytes read in either manner."""
        return self.read + self.mapped

    def cells(self) -> list[str]:
        sizes = (self.read, self.mapped, self.disk, self.written, self.hashed)
        return [self.name, *(f"{size / 1e6:,.1f} MB" for size in sizes), str(self.requests)]


def of_base(workshop: Workshop) -> Iterator[Comparison]:
    yield from targets(workshop, BASE)


def of_xlarge(workshop: Workshop) -> Iterator[Comparison]:
    yield from targets(workshop, XLARGE)


def targets(workshop: Workshop, shape: Shape) -> Iterator[Comparison]:
    """The rows of the table of ratios; the table of bytes is printed."""
    with tempfile.TemporaryDirectory(dir=workshop.root) as root:
        rows = list(measure(shape, Path(root)))
    print(render(rows), end="\n\n", flush=True)
    yield from ratios(shape, rows)


def ratios(shape: Shape, found: Iterable[Row]) -> Iterator[Comparison]:
    """What the commands need against the floors."""
    rows = {row.name: row for row in found}
    hashing, mapping = rows["floor: hashed once"], rows["floor: mapped once"]
    patch = rows["patch --link: symlink"]
    chain = [patch, rows["verify"], rows["publish"]]
    name = f"{shape.name}-shaped"
    yield Comparison(f"patch --link, {name}, against hashing once: read", [patch.passes], [hashing.passes], "B", 1.05)
    yield Comparison(f"patch --link, {name}: written", [patch.written], [MAX_WRITTEN], "B", 1.0)
    read, passes = sum(row.read for row in chain), sum(row.passes for row in chain)
    yield Comparison(f"patch, verify and publish, {name}, against hashing once: read", [read], [hashing.read], "B", 2.1)
    disk = sum(row.disk for row in chain)
    yield Comparison(
        "the same, against hashing once: from the disk, by calls and maps", [disk], [hashing.disk], "B", 2.1
    )
    both = hashing.passes + mapping.passes
    yield Comparison("the same, against hashing and mapping once: read and mapped", [passes], [both], "B")
    hashed = sum(row.hashed for row in chain)
    yield Comparison(f"patch, verify and publish, {name}: hashed", [hashed], [hashing.hashed], "B", 1.05)


def measure(shape: Shape, root: Path, *, all_commands: bool = True) -> Iterator[Row]:
    """Run the commands on a model of a shape, whose weights are in `root` several times.

    Without `all_commands` only what the targets are about: the floors, `patch --link`, `verify` and `publish`.
    """
    source = write_source(shape, root / "source")
    with LocalHub(root / "hub") as hub:
        for name, token in (("ola", OLA), ("ltg", "hf_other")):
            hub.add_user(name, token)
        hub.create_repo(SOURCE, {path.name: path for path in source.iterdir()})
        meter = Meter(hub, root, client_env(hub.endpoint, root / "home", OLA) | QUIET)
        patcher, out = ("-m", "patcher"), root / "out"
        for kind in ("hashed", "mapped"):
            yield meter.run(f"floor: {kind} once", PROGRAMS / "one_pass.py", kind, source / WEIGHTS)
        if all_commands:
            yield meter.run("plan", *patcher, "plan", SOURCE, "-q")
            yield from of_read_only_folder(meter, source, root / "shared")
        meter.run("", "-c", DOWNLOAD, SOURCE)
        for options in [["--copy"], [], ["--link"]] if all_commands else [["--link"]]:
            meter.forget()
            row = meter.run("", *patcher, "patch", SOURCE, "--out", out, "--no-verify", *options, "-q")
            yield replace(row, name=f"patch {''.join(options) or 'by default'}: {load(out).weights[0].storage}")
        yield meter.run("verify", *patcher, "verify", out, *CPU, "-q")
        yield meter.run("publish", *patcher, "publish", out, "ola/ours", "--yes", "-q")
        if all_commands:
            yield meter.run("check", *patcher, "check", "ola/ours", "-q")
            trained = write_trained(source, root / "trained")
            texts = [root / "queries.jsonl", root / "documents.jsonl"]
            for path in texts:
                path.write_text('{"id": "1", "text": "Oslo er hovedstaden i Norge."}\n')
            words = ("--queries", texts[0], "--documents", texts[1], "--trust-remote-code", "--device=cpu")
            yield meter.run("threshold", *patcher, "threshold", trained, *words, "-q", codes={0, 1})  # random weights
            for program in ("replace_and_upload", "save_and_push"):
                words = (SOURCE, root / program, f"ola/{program}")
                yield meter.run(f"peer: {program}", PROGRAMS / f"{program}.py", *words)


def of_read_only_folder(meter: Meter, source: Path, out: Path) -> Iterator[Row]:
    """A patch by an ordinary user whose file system makes no clones: the weights get a second name."""
    (source / WEIGHTS).chmod(0o444)
    meter.forget()
    words = ("patch", source, "--out", out, "--no-verify", "-q")
    row = meter.run("", PROGRAMS / "unprivileged.py", *words)
    yield replace(row, name=f"patch of a read-only folder: {load(out).weights[0].storage}")


def write_trained(source: Path, folder: Path) -> Path:
    """The same weights as a SparseEncoder model, in the layout that sentence-transformers saves."""
    shutil.copytree(source, folder, copy_function=os.link)
    pooling = "sparse_encoder.modules.splade_pooling.SpladePooling"
    kinds = {"": "base.modules.transformer.Transformer", "1_Pooling": pooling}
    texts = {
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
            for number, (path, kind) in enumerate(kinds.items())
        ],
        "1_Pooling/config.json": {"pooling_strategy": "max", "activation_function": "relu"},
        "sentence_bert_config.json": {
            "transformer_task": "fill-mask",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "token_embeddings",
        },
        "config_sentence_transformers.json": {"model_type": "SparseEncoder", "prompts": {}},
    }
    (folder / "1_Pooling").mkdir()
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@dataclass(frozen=True)
class Meter:
    """Runs commands in `environment` and counts; `root` has all the files that they work on."""

    hub: LocalHub
    root: Path
    environment: Mapping[str, str]

    def forget(self) -> None:
        """No hash is remembered from an earlier run."""
        shutil.rmtree(Path(self.environment["HF_HOME"]) / "assets", ignore_errors=True)

    def run(self, name: str, *words: str | Path, codes: Collection[int] = (0,)) -> Row:
        drop_pages(self.root)
        self.hub.reset_counters()
        counters, log = self.root / "counters", self.root / "hashed"
        log.write_bytes(b"")
        environment = {**self.environment, "BYTES_HASHED": str(log)}
        environment["PYTHONPATH"] = os.pathsep.join([str(PROGRAMS / "counting"), str(ROOT)])
        command = list(map(str, python(PROGRAMS / "metered.py", counters, *python(*words))))
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
            mapped: dict[tuple[int, str], int] = {}
            confined: Counter[str] = Counter()
            while process.poll() is None:
                family = _family(process.pid)
                mapped |= {key: max(size, mapped.get(key, 0)) for key, size in resident_weights(family)}
                confined |= sum(map(counters_of, below_bubblewrap(family)), Counter())
                time.sleep(0.02)
            if process.returncode not in codes:
                said.seek(0)
                raise RuntimeError(f"{' '.join(map(str, words))}:\n{said.read().decode()[-2000:]}")
        io = Counter(json.loads(counters.read_text())) + confined
        hashed = sum(map(int, log.read_text().split()))
        requests = len(self.hub.requests)
        return Row(name, io["rchar"], sum(mapped.values()), io["read_bytes"], io["wchar"], hashed, requests)


def below_bubblewrap(family: Sequence[int]) -> set[int]:
    """Those that bubblewrap confines: it does not wait for them, so their counters are nobody's in the end."""
    return {pid for one in family if _text(one, "comm").strip() == "bwrap" for pid in _family(one)[1:]}


def counters_of(pid: int) -> Counter[str]:
    """The counters of one process."""
    return Counter({name: int(value) for name, value in (line.split(": ") for line in _text(pid, "io").splitlines())})


def resident_weights(family: Sequence[int]) -> Iterator[tuple[tuple[int, str], int]]:
    """The maps of weight files in processes: the start of each, and how many bytes of it are in memory."""
    for pid in family:
        if not _is_weights(_text(pid, "maps")):
            continue
        start = ""
        for line in _text(pid, "smaps").splitlines():
            first = line.split(" ", 1)[0]
            if "-" in first:
                start = first if _is_weights(line) else ""
            elif start and first == "Rss:":
                yield (pid, start), int(line.split()[1]) * 1024


def _is_weights(maps: str) -> bool:
    return ".safetensors" in maps or "/blobs/" in maps


def _text(pid: int, name: str) -> str:
    """A file of /proc about a process; empty where it has just ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def drop_pages(root: Path) -> None:
    """Let the kernel forget the content of the large files below a folder; it is read from the disk next."""
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size > 1_000_000:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def render(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    columns = ("command", "read", "mapped", "disk", "written", "hashed", "requests")
    head = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
    return "\n".join([*head, *(f"| {' | '.join(row.cells())} |" for row in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["base", "xlarge"], default="base")
    shape = {"base": BASE, "xlarge": XLARGE}[parser.parse_args().shape]
    with tempfile.TemporaryDirectory(prefix="byte-benchmark-") as root:
        print(table.render(list(targets(Workshop(Path(root)), shape)), markdown=True))


if __name__ == "__main__":
    main()
