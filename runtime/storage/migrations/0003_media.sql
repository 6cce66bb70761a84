-- Files in the media folders. Which message refers to which is in `inbound.media`; whether one is in flight follows
-- from the states of those messages (H1, H2) and is no column.
CREATE TABLE blobs (
    n          INTEGER NOT NULL PRIMARY KEY,
    session_id TEXT    NOT NULL REFERENCES sessions (id),
    file       TEXT    NOT NULL,                -- its name in the session's media folder
    hash       TEXT    NOT NULL,                -- SHA-256, hexadecimal: the same bytes are kept once (M4)
    size       INTEGER NOT NULL,
    mime_type  TEXT,
    name       TEXT,                            -- what its sender called it
    epoch      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,                -- sent, or given to the agent, last: what is evicted first (M5)
    handed_at  INTEGER,                         -- the first event of a turn that carried it (H1)
    evicted_at INTEGER,                         -- not on disk any more; the row says so to the agent (M9)
    told_at    INTEGER,                         -- the agent knows
    UNIQUE (session_id, file)
) STRICT;

CREATE INDEX blobs_untold ON blobs (session_id, epoch, evicted_at) WHERE evicted_at IS NOT NULL AND told_at IS NULL;
CREATE INDEX blobs_evicted ON blobs (evicted_at) WHERE evicted_at IS NOT NULL;

-- What is in flight: read at each start, before anything may be removed (H6).
CREATE INDEX inbound_media ON inbound (session_id, seq)
    WHERE media IS NOT NULL AND state IN ('held', 'pending', 'claimed');
