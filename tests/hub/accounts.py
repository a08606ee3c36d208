"""Who may do what: users, organisations, tokens and their scopes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from .errors import bad_token

__all__ = ["Accounts", "Caller", "Token", "User"]

WRITING_ORG_ROLES = frozenset({"write", "admin", "contributor"})


@dataclass(frozen=True)
class Token:
    """`role` is read, write or fineGrained; `namespaces` is where a fine-grained one may write."""

    value: str
    user: str
    role: str = "write"
    namespaces: frozenset[str] = frozenset()
    name: str = "test"


@dataclass(frozen=True)
class User:
    name: str

    @property
    def id(self) -> str:
        return hashlib.sha1(self.name.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Caller:
    """The person behind one request; `token` is None for an anonymous one."""

    token: Token | None
    orgs: dict[str, str] = field(default_factory=dict)

    @property
    def user(self) -> str | None:
        return self.token.user if self.token else None

    def belongs_to(self, namespace: str) -> bool:
        if self.token is None:
            return False
        if self.token.role == "fineGrained" and namespace not in self.token.namespaces:
            return False
        return namespace == self.token.user or namespace in self.orgs

    def may_write_in(self, namespace: str) -> bool:
        if self.token is None or self.token.role == "read" or not self.belongs_to(namespace):
            return False
        return namespace == self.token.user or self.orgs[namespace] in WRITING_ORG_ROLES

    def may_open_pull_requests(self) -> bool:
        return self.token is not None and self.token.role != "read"


class Accounts:
    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.orgs: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, Token] = {}

    def add_user(self, name: str) -> User:
        return self.users.setdefault(name, User(name))

    def add_org(self, name: str, members: dict[str, str]) -> None:
        self.orgs.setdefault(name, {}).update(members)

    def add_token(self, token: Token) -> None:
        self.add_user(token.user)
        self._tokens[token.value] = token

    def revoke(self, value: str) -> None:
        del self._tokens[value]

    def caller(self, authorization: str | None) -> Caller:
        """The caller of a request. A token that nobody has is refused even where none is needed."""
        if not authorization:
            return Caller(None)
        token = self._tokens.get(authorization.removeprefix("Bearer "))
        if token is None:
            raise bad_token()
        orgs = {org: members[token.user] for org, members in self.orgs.items() if token.user in members}
        return Caller(token, orgs)

    def whoami(self, caller: Caller, created_at: str) -> dict[str, object]:
        if caller.token is None:
            raise bad_token()
        user = self.users[caller.token.user]
        orgs = [
            {
                "type": "org",
                "id": User(org).id,
                "name": org,
                "fullname": org,
                "roleInOrg": role,
                "isEnterprise": False,
            }
            for org, role in sorted(caller.orgs.items())
        ]
        access: dict[str, object] = {
            "displayName": caller.token.name,
            "role": caller.token.role,
            "createdAt": created_at,
        }
        if caller.token.role == "fineGrained":
            access["fineGrained"] = {
                "canReadGatedRepos": True,
                "global": ["discussion.write"],
                "scoped": [
                    {
                        "entity": {"type": "user", "name": name},
                        "permissions": ["repo.write", "repo.content.read"],
                    }
                    for name in sorted(caller.token.namespaces)
                ],
            }
        return {
            "type": "user",
            "id": user.id,
            "name": user.name,
            "fullname": user.name.capitalize(),
            "email": f"{user.name}@example.invalid",
            "emailVerified": True,
            "canPay": False,
            "isPro": False,
            "periodEnd": None,
            "avatarUrl": "/avatars/none.svg",
            "orgs": orgs,
            "auth": {"type": "access_token", "accessToken": access},
        }
