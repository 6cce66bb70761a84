"""Fields that several messages of the protocol have, with what its document says of them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from runtime.sessions.content import SaidContent

SessionId = Annotated[str, msgspec.Meta(description="The session, as `session/new` named it.")]
Said = Annotated[
    SaidContent,
    msgspec.Meta(
        min_length=1,
        description="At least one block that is not blank text. Images, sounds, resources with a "
        "`blob` or with a long text, and files that the client may send by a link, are kept as "
        "files; the agent gets links to them.",
    ),
]
MessageId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=200,
        description="The client's own name for the message: sent again, it is accepted only once.",
    ),
]
Run = Annotated[
    str,
    msgspec.Meta(description="Names this start of the runtime: live numbers begin anew with it."),
]
LiveNumber = Annotated[
    int, msgspec.Meta(ge=0, description="The number of a live event of a session, always rising.")
]
JournalNumber = Annotated[
    int, msgspec.Meta(ge=0, description="The number of a line of the session's transcript.")
]
Milliseconds = Annotated[int, msgspec.Meta(description="Milliseconds since 1970, UTC.")]
