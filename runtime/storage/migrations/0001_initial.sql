-- Schema 1: sessions, queue and turns, store and delivery.
--
-- Times are milliseconds since 1970, UTC. Ids are UUIDs of version 7 as text. Columns that hold JSON say so.
-- Tables keep their rowid: in batches of 64 they take inserts four times faster than WITHOUT ROWID tables.
-- The indexes are partial where only the rows that still wait are asked for, so that what a question costs
-- follows what waits and not what was ever stored.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- ── who talks where ────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE agent_groups (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    folder      TEXT    NOT NULL,
    provider    TEXT,
    model       TEXT,
    permissions TEXT,                       -- JSON
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE messaging_groups (
    id                    TEXT    NOT NULL PRIMARY KEY,
    channel_type          TEXT    NOT NULL,
    platform_id           TEXT    NOT NULL,
    name                  TEXT,
    is_group              INTEGER NOT NULL CHECK (is_group IN (0, 1)),
    unknown_sender_policy TEXT    NOT NULL
        CHECK (unknown_sender_policy IN ('strict', 'request_approval', 'public')),
    created_at            INTEGER NOT NULL,
    UNIQUE (channel_type, platform_id)
) STRICT;

CREATE TABLE wirings (
    id                     TEXT    NOT NULL PRIMARY KEY,
    messaging_group_id     TEXT    NOT NULL REFERENCES messaging_groups (id),
    agent_group_id         TEXT    NOT NULL REFERENCES agent_groups (id),
    engage_mode            TEXT    NOT NULL
        CHECK (engage_mode IN ('pattern', 'mention', 'mention-sticky')),
    engage_pattern         TEXT,
    sender_scope           TEXT    NOT NULL DEFAULT 'all',
    ignored_message_policy TEXT    NOT NULL DEFAULT 'drop'
        CHECK (ignored_message_policy IN ('drop', 'accumulate')),
    session_mode           TEXT    NOT NULL
        CHECK (session_mode IN ('shared', 'per-thread', 'per-sender', 'agent-shared')),
    priority               INTEGER NOT NULL DEFAULT 0,
    created_at             INTEGER NOT NULL,
    UNIQUE (messaging_group_id, agent_group_id)
) STRICT;

CREATE INDEX wirings_of_agent ON wirings (agent_group_id);

CREATE TABLE destinations (
    agent_group_id        TEXT    NOT NULL REFERENCES agent_groups (id),
    name                  TEXT    NOT NULL,
    display_name          TEXT,
    type                  TEXT    NOT NULL CHECK (type IN ('channel', 'agent')),
    messaging_group_id    TEXT    REFERENCES messaging_groups (id),
    target_agent_group_id TEXT    REFERENCES agent_groups (id),
    created_at            INTEGER NOT NULL,
    UNIQUE (agent_group_id, name),
    CHECK ((type = 'channel') = (messaging_group_id IS NOT NULL)),
    CHECK ((type = 'agent') = (target_agent_group_id IS NOT NULL))
) STRICT;

CREATE TABLE users (
    id           TEXT    NOT NULL PRIMARY KEY,  -- a platform's identity, as in telegram:123
    display_name TEXT,
    peer         TEXT,                          -- several identities of one person share it (S12)
    created_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX users_of_peer ON users (peer) WHERE peer IS NOT NULL;

CREATE TABLE user_roles (
    user_id    TEXT    NOT NULL REFERENCES users (id),
    role       TEXT    NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    scope      TEXT    NOT NULL DEFAULT '',     -- an agent group; empty for all of them
    granted_by TEXT,
    granted_at INTEGER NOT NULL,
    UNIQUE (user_id, role, scope)
) STRICT;

CREATE TABLE sender_approvals (
    messaging_group_id TEXT    NOT NULL REFERENCES messaging_groups (id),
    user_id            TEXT    NOT NULL REFERENCES users (id),
    state              TEXT    NOT NULL CHECK (state IN ('asked', 'approved', 'denied')),
    asked_at           INTEGER NOT NULL,
    decided_at         INTEGER,
    decided_by         TEXT,
    UNIQUE (messaging_group_id, user_id)
) STRICT;

-- ── sessions ───────────────────────────────────────────────────────────────────────────────────────────

-- Whether a session runs is no column: it is a live task, or a turn in the state `running` (T1).
CREATE TABLE sessions (
    id                                 TEXT    NOT NULL PRIMARY KEY,
    agent_group_id                     TEXT    NOT NULL,
    key                                TEXT    NOT NULL,
    status                             TEXT    NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'closed', 'archived')),
    epoch                              INTEGER NOT NULL DEFAULT 1,
    created_at                         INTEGER NOT NULL,
    updated_at                         INTEGER NOT NULL,
    last_interaction_at                INTEGER,
    last_active_at                     INTEGER,
    agent_session_id                   TEXT,
    messaging_group_id                 TEXT,
    thread_id                          TEXT,
    origin                             TEXT,    -- JSON, ReplyAddress
    last_route                         TEXT,    -- JSON, ReplyAddress
    chat_type                          TEXT,
    label                              TEXT,
    display_name                       TEXT,
    subject                            TEXT,
    room                               TEXT,
    space                              TEXT,
    spawned_by                         TEXT,
    system_sent                        INTEGER NOT NULL DEFAULT 0 CHECK (system_sent IN (0, 1)),
    aborted_last_run                   INTEGER NOT NULL DEFAULT 0 CHECK (aborted_last_run IN (0, 1)),
    group_activation_needs_system_intro INTEGER NOT NULL DEFAULT 0
        CHECK (group_activation_needs_system_intro IN (0, 1)),
    queue                              TEXT    NOT NULL DEFAULT '{}',  -- JSON, QueueOverrides
    overrides                          TEXT    NOT NULL DEFAULT '{}',  -- JSON: model, provider, thinking …
    input_tokens                       INTEGER NOT NULL DEFAULT 0,
    output_tokens                      INTEGER NOT NULL DEFAULT 0,
    total_tokens                       INTEGER NOT NULL DEFAULT 0,
    context_tokens                     INTEGER NOT NULL DEFAULT 0,
    compaction_count                   INTEGER NOT NULL DEFAULT 0,
    generation                         INTEGER NOT NULL DEFAULT 0,     -- of the queue (H3)
    inbound_seq                        INTEGER NOT NULL DEFAULT 0,     -- given out last (Q7)
    journal_seq                        INTEGER NOT NULL DEFAULT 0,     -- given out last (J1)
    cap_noticed                        INTEGER NOT NULL DEFAULT 0      -- this burst's notice went out (Q4)
        CHECK (cap_noticed IN (0, 1)),
    owner                              TEXT,    -- the instance that works on it (D8)
    incarnation                        TEXT,    -- of the session actor in that instance
    lease_until                        INTEGER, -- only where several nodes share a store (D1)
    fence                              INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX sessions_identity ON sessions (agent_group_id, key) WHERE status = 'active';
CREATE INDEX sessions_recent ON sessions (status, coalesce(last_active_at, created_at), id);

CREATE TABLE session_aliases (
    agent_group_id TEXT NOT NULL,
    alias          TEXT NOT NULL,
    session_id     TEXT NOT NULL REFERENCES sessions (id),
    UNIQUE (agent_group_id, alias)
) STRICT;

CREATE INDEX aliases_of_session ON session_aliases (session_id);

CREATE TABLE snapshots (
    hash       TEXT    NOT NULL PRIMARY KEY,    -- SHA-256 of the content, hexadecimal
    content    TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE session_snapshots (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    kind       TEXT NOT NULL,
    hash       TEXT NOT NULL REFERENCES snapshots (hash),
    UNIQUE (session_id, kind)
) STRICT;

CREATE INDEX uses_of_snapshot ON session_snapshots (hash);

-- ── messages ───────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE inbound (
    n                 INTEGER NOT NULL PRIMARY KEY,
    id                TEXT    NOT NULL UNIQUE,
    session_id        TEXT    NOT NULL REFERENCES sessions (id),
    epoch             INTEGER NOT NULL,
    seq               INTEGER NOT NULL,
    kind              TEXT    NOT NULL CHECK (kind IN ('chat', 'task', 'webhook', 'system')),
    state             TEXT    NOT NULL
        CHECK (state IN ('held', 'pending', 'claimed', 'done', 'failed', 'dropped', 'expired')),
    content           TEXT    NOT NULL,         -- JSON, content blocks
    media             TEXT,                     -- JSON
    sender            TEXT,                     -- JSON, Sender
    reply_to          TEXT,                     -- JSON, ReplyAddress; frozen (S34)
    trigger           INTEGER NOT NULL CHECK (trigger IN (0, 1)),
    not_before        INTEGER,
    recurrence        TEXT,                     -- cron expression and time zone (D9)
    series_id         TEXT,
    scheduled_at      INTEGER,                  -- which occurrence of the series this is
    tries             INTEGER NOT NULL DEFAULT 0,
    turn_id           TEXT,                     -- the turn that claimed it last
    claim_generation  INTEGER,                  -- the fence of that claim
    source_session_id TEXT,
    connection        TEXT,                     -- the client connection that waits for the answer (G11)
    line_owed         INTEGER NOT NULL DEFAULT 0 CHECK (line_owed IN (0, 1)),  -- dropped by `summarize`
    reason            TEXT,
    sent_at           INTEGER,
    admitted_at       INTEGER NOT NULL,
    claimed_at        INTEGER,
    finished_at       INTEGER,
    CHECK ((state = 'claimed') <= (turn_id IS NOT NULL)),
    CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'failed', 'dropped', 'expired')))
) STRICT;

-- No index leads to the finished messages of a session: nothing that a message waits for may look at them.
CREATE INDEX inbound_pending ON inbound (session_id, seq, trigger, kind, not_before)
    WHERE state = 'pending';
CREATE INDEX inbound_held ON inbound (session_id, seq) WHERE state = 'held';
CREATE INDEX inbound_claimed ON inbound (session_id, seq) WHERE state = 'claimed';
CREATE INDEX inbound_owed ON inbound (session_id, seq) WHERE line_owed = 1;
CREATE UNIQUE INDEX inbound_occurrence ON inbound (series_id, scheduled_at) WHERE series_id IS NOT NULL;

-- What makes a message the same message when it comes again (D5). Kept for a shorter time than the rows, and
-- without a reference to them: that would be looked up again with each one that is removed.
CREATE TABLE message_keys (
    channel    TEXT    NOT NULL,
    account    TEXT    NOT NULL,
    chat       TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    inbound_id TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (channel, account, chat, message_id, version)
) STRICT;

-- Messages that were refused before they reached a session (S32).
CREATE TABLE drops (
    n                   INTEGER NOT NULL PRIMARY KEY,
    at                  INTEGER NOT NULL,
    reason              TEXT    NOT NULL,
    channel             TEXT    NOT NULL,
    account             TEXT    NOT NULL,
    chat                TEXT    NOT NULL,
    sender              TEXT,
    platform_message_id TEXT,
    detail              TEXT
) STRICT;

CREATE TABLE channel_offsets (
    channel    TEXT    NOT NULL,
    account    TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (channel, account)
) STRICT;

-- ── turns and what was said ────────────────────────────────────────────────────────────────────────────

CREATE TABLE turns (
    n              INTEGER NOT NULL PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    session_id     TEXT    NOT NULL REFERENCES sessions (id),
    epoch          INTEGER NOT NULL,
    state          TEXT    NOT NULL
        CHECK (state IN ('running', 'done', 'failed', 'cancelled', 'interrupted', 'vanished')),
    tries          INTEGER NOT NULL,            -- earlier ones of its messages
    message_ids    TEXT    NOT NULL,            -- JSON, list
    overflow       TEXT    NOT NULL,            -- JSON, list: dropped messages whose lines it carried
    instance       TEXT    NOT NULL,
    incarnation    TEXT    NOT NULL,
    fence          INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    first_event_at INTEGER,
    ended_at       INTEGER,
    stop_reason    TEXT,
    error          TEXT,                        -- JSON, TurnError
    usage          TEXT,                        -- JSON, Usage
    CHECK ((ended_at IS NULL) = (state = 'running'))
) STRICT;

CREATE UNIQUE INDEX turns_running ON turns (session_id) WHERE state = 'running';  -- at most one (T1)
CREATE INDEX turns_of_session ON turns (session_id, n);

CREATE TABLE turn_progress (
    turn_id TEXT    NOT NULL REFERENCES turns (id),
    n       INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    text    TEXT    NOT NULL,
    data    TEXT,                               -- JSON, list
    UNIQUE (turn_id, n)
) STRICT;

CREATE TABLE journal (
    n          INTEGER NOT NULL PRIMARY KEY,
    session_id TEXT    NOT NULL REFERENCES sessions (id),
    seq        INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    ts         INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    content    TEXT    NOT NULL,
    turn_id    TEXT,
    data       TEXT,                            -- JSON, object
    UNIQUE (session_id, seq),
    UNIQUE (session_id, id),
    UNIQUE (session_id, epoch, seq)
) STRICT;

-- ── delivery ───────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE outbound (
    n                   INTEGER NOT NULL PRIMARY KEY,
    id                  TEXT    NOT NULL UNIQUE,  -- also the key for channels that take one (O2)
    session_id          TEXT    NOT NULL REFERENCES sessions (id),
    turn_id             TEXT,
    part                INTEGER NOT NULL,
    kind                TEXT    NOT NULL,
    channel             TEXT    NOT NULL,
    account             TEXT    NOT NULL,
    conversation        TEXT    NOT NULL,         -- the unit of order (O3)
    reply_to            TEXT    NOT NULL,         -- JSON, ReplyAddress
    text                TEXT    NOT NULL,
    state               TEXT    NOT NULL
        CHECK (state IN ('pending', 'attempting', 'delivered', 'failed', 'abandoned')),
    attempts            INTEGER NOT NULL DEFAULT 0,
    ambiguous           INTEGER NOT NULL DEFAULT 0 CHECK (ambiguous IN (0, 1)),
    not_before          INTEGER,
    platform_message_id TEXT,
    error               TEXT,
    created_at          INTEGER NOT NULL,
    attempted_at        INTEGER,
    finished_at         INTEGER,
    CHECK ((finished_at IS NOT NULL) = (state IN ('delivered', 'failed', 'abandoned')))
) STRICT;

CREATE INDEX outbound_open ON outbound (channel, account, conversation, n)
    WHERE state IN ('pending', 'attempting');

-- ── upkeep ─────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE recoveries (
    n        INTEGER NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    instance TEXT    NOT NULL UNIQUE,
    record   TEXT    NOT NULL                     -- JSON, Recovery
) STRICT;
