"""Publishes a verified folder: a plan, one commit of kilobytes, and a check of what arrived."""

from patcher.publish.check import check
from patcher.publish.commit import Publication, publish
from patcher.publish.findings import Checked, Finding
from patcher.publish.plan import PublishOptions, PublishPlan, check_consent, plan_publication
from patcher.publish.publishable import Publishable, load
from patcher.source.retry import RetryPolicy

__all__ = [
    "Checked",
    "Finding",
    "Publication",
    "PublishOptions",
    "PublishPlan",
    "Publishable",
    "RetryPolicy",
    "check",
    "check_consent",
    "load",
    "plan_publication",
    "publish",
]
