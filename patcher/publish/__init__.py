"""Publishes a verified folder: a plan, one commit of kilobytes, and a check of what arrived."""

from patcher.publish.check import Checked, Finding, check
from patcher.publish.commit import Publication, publish
from patcher.publish.plan import PublishOptions, PublishPlan, plan_publication
from patcher.source.retry import RetryPolicy

__all__ = [
    "Checked",
    "Finding",
    "Publication",
    "PublishOptions",
    "PublishPlan",
    "RetryPolicy",
    "check",
    "plan_publication",
    "publish",
]
