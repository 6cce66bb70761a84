"""Errors of the engine in the words of the front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors.router import Overloaded
from runtime.kernel import ActorStopped, AskTimeout, MailboxFull
from runtime.ports.front import BadRequest, NoSuchSession, QueueIsFull, Unavailable
from runtime.storage.errors import (
    QueueFull,
    RowTooLarge,
    StoreClosed,
    StoreUnavailable,
    UnknownSession,
)

REQUEST_LIMIT = 30.0
"""Seconds within which a request is answered; closing and resetting wait for a turn to end."""


@asynccontextmanager
async def client_errors(session_id: str | None = None) -> AsyncIterator[None]:
    """Errors of the engine in the words of the front."""
    try:
        yield
    except UnknownSession:
        raise NoSuchSession(f"there is no open session {session_id!r}") from None
    except QueueFull as error:
        raise QueueIsFull(str(error)) from None
    except RowTooLarge as error:
        raise BadRequest(str(error)) from None
    except (StoreUnavailable, Overloaded, MailboxFull) as error:
        raise Unavailable(f"nothing was accepted: {error}") from None
    except (StoreClosed, ActorStopped):
        raise Unavailable("the runtime is stopping; try again when it has started") from None
    except AskTimeout:
        raise Unavailable(
            f"no answer within {REQUEST_LIMIT:g} s; the outcome is unknown: ask for it, or repeat"
            " the request with the same message id"
        ) from None
