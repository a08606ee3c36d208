"""What a command line has imported and read when it ends: `python startup.py MODULE WORDS...` calls its `main`.

Prints [bytes read, modules] as JSON in the last line, those of Python itself included. Run by path.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from pathlib import Path

_, module, *words = sys.argv
sys.argv = [module, *words]
before = len(sys.modules)
with contextlib.suppress(SystemExit):
    importlib.import_module(module).main()
read = next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar"))
print(f"\n{json.dumps([int(read.split()[1]), len(sys.modules) - before])}")
