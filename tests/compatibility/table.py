"""Makes patcher/codemods/transformers4.json, what transformers 5 took away: `python -m tests.compatibility.table`.

`--write` puts it there. One interpreter has transformers 4.57 (PATCHER_TRANSFORMERS4), the other is this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

TABLE = ROOT / "patcher" / "codemods" / "transformers4.json"
SCRIPT = Path(__file__).with_name("versions.py")
Values = dict[str, Any]


def described(python: str, *kinds: str) -> Values:
    """What the base classes of transformers have in another Python, and configuration classes by their model type."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([python, SCRIPT, *kinds], env=environment, check=True, capture_output=True, text=True)
    found: Values = json.loads(done.stdout)
    return found


def table(four: Values, five: Values) -> Values:
    """What both versions have in common is left out, but for what a configuration class of its own still has in 5."""
    gone = {name: value for name, value in four["config"].items() if name not in five["config"]}
    known = (*gone, "rope_theta")  # which the base class never had, and the classes of 5 keep in `rope_parameters`
    types: dict[str, Values] = {}
    for kind, cls in four["types"].items():
        old, new = cls["values"], five["types"].get(kind, {"values": {}})["values"]
        same = [name for name in known if name in new and old.get(name) == new[name]]
        other = {name: old[name] for name in known if name in old and name not in same}
        other = {name: value for name, value in other.items() if name not in gone or value != gone[name]}
        if kind in five["types"] and (same or other):
            types[kind] = {"class": cls["name"], "same": same, "other": other}
    return {
        "versions": [four["version"], five["version"]],
        "config": gone,
        "not_loaded": [name for name in gone if name in five["not_loaded"]],
        "model": [name for name in four["model"] if name not in five["model"]],
        "types": types,
    }


def text(content: Values) -> str:
    """JSON with one line for each key, and for each configuration class."""
    types = ",\n".join(f"    {json.dumps(kind)}: {json.dumps(one)}" for kind, one in content["types"].items())
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items() if key != "types"]
    return "{\n" + ",\n".join([*lines, f'  "types": {{\n{types}\n  }}']) + "\n}\n"


if __name__ == "__main__":
    made = text(table(described(os.environ["PATCHER_TRANSFORMERS4"]), described(sys.executable)))
    if sys.argv[1:] == ["--write"]:
        TABLE.write_text(made, "utf-8")
    else:
        print(made)
