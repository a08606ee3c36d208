"""Rewrite a model's modeling code with LibCST, prove the change by running it, and publish the result.

The functions and values of docs/python-api.md are offered here. Each is imported when it is first used:
`import patcher` alone loads neither torch nor the Hub's client. `__init__.pyi` tells type checkers the same.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

# From each name to its module. The order is that of the page.
_OFFERED = {
    "resolve": "source.snapshot",
    "make_plan": "planning.plan",
    "patch_model": "pipeline.api",
    "verify_folder": "pipeline.folder",
    "load_report": "verify.report",
    "load_probe_texts": "verify.texts",
    "publish_folder": "publish.folder",
    "check": "publish.check",
    "Snapshot": "source.snapshot",
    "Source": "source.snapshot",
    "Options": "planning.options",
    "Plan": "planning.plan",
    "Verification": "verify.settings",
    "Patched": "pipeline.api",
    "Report": "verify.report",
    "Check": "verify.report",
    "PublishOptions": "publish.plan",
    "RetryPolicy": "source.retry",
    "Publication": "publish.commit",
    "Checked": "publish.findings",
    "Finding": "publish.findings",
    "PatcherError": "errors",
    "UsageError": "errors",
    "SourceError": "errors",
    "HubUnreachable": "errors",
    "AccessDenied": "errors",
    "CodeError": "errors",
    "OutputError": "errors",
    "MissingRequirement": "errors",
    "VerificationError": "errors",
    "PublishError": "errors",
}
__all__ = ["__version__", *_OFFERED]


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_OFFERED[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})
