"""The floors of a table of bytes: `python one_pass.py hashed FILE` reads a file, `mapped FILE` touches its pages."""

from __future__ import annotations

import hashlib
import mmap
import sys

with open(sys.argv[2], "rb") as file:
    if sys.argv[1] == "hashed":
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    else:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            sum(mapped[:: mmap.PAGESIZE])
