"""The Hub's addresses, by subject."""

from __future__ import annotations

from . import discussions, download, identity, lfs, listing, repos, storage, upload

__all__ = ["HUB_ROUTES", "STORAGE_ROUTES"]

# The page of a repository matches any two segments, so `repos` stands last.
HUB_ROUTES = (
    *identity.ROUTES,
    *listing.ROUTES,
    *upload.ROUTES,
    *lfs.ROUTES,
    *discussions.ROUTES,
    *download.ROUTES,
    *repos.ROUTES,
)
STORAGE_ROUTES = storage.ROUTES
