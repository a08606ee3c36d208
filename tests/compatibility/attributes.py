"""Prints attributes of the configurations in a list of folders, as JSON. Runs on transformers 4.57 as well.

Usage: python attributes.py FOLDERS.json, which holds {folder: [name, ...]}, a name with dots for nested ones. Each
folder has two lists of values: as the configuration is loaded, and after it was saved and loaded again.
"""

import json
import shutil
import sys
import tempfile
from functools import reduce
from pathlib import Path

from transformers import AutoConfig


def read_one(config, name):
    return getattr(config, name, "missing")


def read(folder, names):
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    return config, [reduce(read_one, name.split("."), config) for name in names]


if __name__ == "__main__":
    found = {}
    for folder, names in json.loads(Path(sys.argv[1]).read_text()).items():
        config, values = read(folder, names)
        with tempfile.TemporaryDirectory() as saved:
            shutil.copytree(folder, saved, dirs_exist_ok=True)
            config.save_pretrained(saved)
            try:
                found[folder] = [values, read(saved, names)[1]]
            except TypeError:  # an argument that is constant, and in the saved file
                found[folder] = [values, values]
    print(json.dumps(found))
