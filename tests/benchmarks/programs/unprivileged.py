"""Runs `patcher WORDS...` without the privileges of root, who may write into every file. Run by path."""

from __future__ import annotations

import ctypes
import runpy
import sys

header, no_capabilities = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
if ctypes.CDLL(None).capset(header, no_capabilities):
    raise SystemExit("the privileges of root can't be given up here")
sys.argv[0] = "patcher"
runpy.run_module("patcher", run_name="__main__", alter_sys=True)
