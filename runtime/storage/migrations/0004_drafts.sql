-- A draft is no row, only a message of the chat that the final one takes the place of (R8). A file that an agent
-- puts into its outbox is owed like a text (R7, D7).
ALTER TABLE turns ADD COLUMN draft TEXT;        -- JSON, Draft
ALTER TABLE outbound ADD COLUMN edits TEXT;     -- the platform's id of the message that the row takes the place of
ALTER TABLE outbound ADD COLUMN file TEXT;      -- JSON, OutboxFile: as it was found, and what it is known by again

CREATE INDEX outbound_files ON outbound (session_id, file) WHERE file IS NOT NULL;
