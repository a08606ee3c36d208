# What `import patcher` offers, for type checkers; `__init__.py` imports it lazily.

from patcher.errors import (
    AccessDenied as AccessDenied,
    CodeError as CodeError,
    HubUnreachable as HubUnreachable,
    MissingRequirement as MissingRequirement,
    OutputError as OutputError,
    PatcherError as PatcherError,
    PublishError as PublishError,
    SourceError as SourceError,
    UsageError as UsageError,
    VerificationError as VerificationError,
)
from patcher.pipeline.api import Patched as Patched, patch_model as patch_model
from patcher.pipeline.folder import verify_folder as verify_folder
from patcher.planning.plan import Plan as Plan, make_plan as make_plan
from patcher.planning.options import Options as Options
from patcher.publish.check import check as check
from patcher.publish.commit import Publication as Publication
from patcher.publish.findings import Checked as Checked, Finding as Finding
from patcher.publish.folder import publish_folder as publish_folder
from patcher.publish.plan import PublishOptions as PublishOptions
from patcher.source.retry import RetryPolicy as RetryPolicy
from patcher.source.snapshot import Snapshot as Snapshot, Source as Source, resolve as resolve
from patcher.verify.report import Check as Check, Report as Report, load_report as load_report
from patcher.verify.settings import Verification as Verification
from patcher.verify.texts import load_probe_texts as load_probe_texts

__version__: str
