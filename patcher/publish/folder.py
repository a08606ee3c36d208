"""Publishes a folder in one call, for programs; the command line shows the plan in between."""

from __future__ import annotations

from pathlib import Path

from patcher.publish.commit import Publication, publish
from patcher.publish.plan import PublishOptions, plan_publication
from patcher.publish.publishable import load
from patcher.source.retry import RetryPolicy
from patcher.verify.report import load_report


def publish_folder(
    folder: Path,
    repo_id: str,
    options: PublishOptions = PublishOptions(),
    *,
    retry: RetryPolicy = RetryPolicy(),
    full_read_back: bool = False,
) -> Publication:
    """Publish a folder that a command of this tool wrote to `repo_id`, in one commit, and read it back.

    The Hub copies the weights from the source; `full_read_back` downloads the small files again. Runs no model code and
    asks nothing: the call is the consent. `Publication.passed` says whether what arrived is what was sent.

    Raises OutputError for a folder without a record, UsageError or PublishError where something prevents the commit,
    AccessDenied or HubUnreachable where the Hub refuses or does not answer. Each says what was done and what was not.
    """
    plan = plan_publication(load(folder), load_report(folder), repo_id, options=options, retry=retry)
    return publish(plan, retry=retry, full_read_back=full_read_back)
