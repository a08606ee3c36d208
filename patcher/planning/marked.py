"""One line in the configuration's code that differs with the model's code.

transformers keeps a remote class by the name of the model's folder and the hash of the file that defines its
configuration. Where that file is the same in two folders of one name, the second model silently runs the code of the
first one for as long as the process lives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from patcher.codemods.code import MARK

_LINE = f"# {MARK} configuration of the code ".encode()


def mark_configuration(
    contents: Mapping[str, bytes], modules: Mapping[str, bytes], config: Mapping[str, Any], target: str
) -> dict[str, bytes]:
    """The configuration's file with a line made from the hash of the code, where that is not the code in `modules`.

    Empty where nothing changed, and where that file is the `target` itself, which holds the model's class.
    """
    named = str(config.get("auto_map", {}).get("AutoConfig", ""))
    path = named.rpartition(".")[0].replace(".", "/") + ".py"
    changed = {name: code for name, code in contents.items() if name.endswith(".py") and code != modules.get(name)}
    if path not in modules or path == target or not changed:
        return {}
    found = hashlib.sha256(b"".join(name.encode() + b"\0" + changed[name] for name in sorted(changed)))
    content = unmarked(contents.get(path, modules[path]))
    end = b"\r\n" if b"\r\n" in content else b"\n"
    gap = b"" if content.endswith((b"\n", b"\r")) or not content else end
    return {path: content + gap + _LINE + found.hexdigest()[:16].encode() + end}


def unmarked(content: bytes) -> bytes:
    """The file without that line."""
    return b"".join(line for line in content.splitlines(keepends=True) if not line.startswith(_LINE))
