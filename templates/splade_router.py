"""The router of an inference-free SPLADE model, saved so that it loads wherever it is saved again.

sentence-transformers saves the document model into a sub-folder, and transformers looks for its code at the top of the
repository only. This router copies that code to the top, and its own file with it, whenever it is saved: by the
trainer, by `push_to_hub`, and by whoever loads the model later and saves it again.
"""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

from sentence_transformers.base import modules as base_modules


class Router(base_modules.Router):
    """A router whose folder is complete: `modules.json` names this class, and its code is beside it."""

    def save(self, output_path: str, safe_serialization: bool = True, **kwargs: Any) -> None:
        super().save(output_path, safe_serialization=safe_serialization, **kwargs)
        for code in (Path(inspect.getfile(type(self))), *Path(output_path).glob("*/*.py")):
            shutil.copyfile(code, Path(output_path) / code.name)
