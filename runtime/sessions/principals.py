"""Who speaks, and what they may do (S36)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a principal may do; each role may do what those before it may.

    A member talks and listens. An admin also takes away what others have said, and looks into the
    runtime. The owner may do everything that can be done from outside.
    """

    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"

    def may(self, needed: Role) -> bool:
        """Whether this role is enough where that one is needed."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Principal(msgspec.Struct, frozen=True):
    """Somebody who is known by a name.

    Args:
        name: as in the settings, in the log and in the records of messages.
        role: what they may do.
    """

    name: str
    role: Role


LOCAL = Principal("local", Role.OWNER)
"""Whoever reaches a loopback port that asks for no token: the person at this machine."""

TOKEN_HOLDER = Principal("token", Role.OWNER)
"""Whoever presents the gateway's own token."""
