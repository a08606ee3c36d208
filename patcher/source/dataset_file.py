"""Fetches one file of a dataset on the Hub into the Hub's cache."""

from __future__ import annotations

from pathlib import Path

from patcher.errors import SourceError, UsageError, see
from patcher.source.hub_errors import from_hub
from patcher.source.retry import read_with_retry

_FORM = "Use hf://datasets/namespace/name[@revision]/path/to/file; @~parquet is the Hub's copy in that format." + see(
    "dataset-files"
)
# The Hub keeps most datasets as parquet too, on a branch with this short name in URIs.
_SHORT = {"~parquet": "refs/convert/parquet"}


def fetch_input(spec: str) -> Path:
    """The path of a local file as given, or in the cache that of `hf://datasets/namespace/name[@revision]/path`.

    Without a network the cache serves alone. Raises UsageError for a URI of another form, SourceError for a file or a
    dataset that is not there, and what `from_hub` says of the rest.
    """
    if not spec.startswith("hf://"):
        return Path(spec)
    from huggingface_hub import HfApi, parse_hf_uri
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    try:
        uri = parse_hf_uri(spec)
    except ValueError as error:
        raise UsageError(f"{spec} is not the URI of a file on the Hub.", _FORM) from error
    if uri.type != "dataset" or not uri.path_in_repo:
        raise UsageError(f"{spec} does not name a file of a dataset.", _FORM)
    revision = _SHORT.get(uri.revision or "", uri.revision)
    try:
        return Path(
            read_with_retry(
                lambda: HfApi().hf_hub_download(uri.id, uri.path_in_repo, repo_type="dataset", revision=revision)
            )
        )
    except EntryNotFoundError as error:
        if type(error).__name__ == "LocalEntryNotFoundError":
            raise from_hub(error, f"datasets/{uri.id}", revision) from error
        raise SourceError(
            f"The dataset {uri.id} has no file {uri.path_in_repo}.", "Look at its files on the Hub."
        ) from error
    except RepositoryNotFoundError as error:
        why = f"There is no dataset {uri.id} on the Hub, or it is private."
        raise SourceError(why, "Check the spelling; for a private one run `hf auth login` first.") from error
    except Exception as error:
        raise from_hub(error, f"datasets/{uri.id}", revision) from error
