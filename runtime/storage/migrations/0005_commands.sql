-- A command is a message to the runtime: it neither fills the queue nor falls out of it (Q4, S36), and what was said to
-- it is kept for whoever asks late. Of what was dropped each conversation is told, once per burst (Q4).
ALTER TABLE inbound ADD COLUMN command INTEGER NOT NULL DEFAULT 0 CHECK (command IN (0, 1));
ALTER TABLE inbound ADD COLUMN said TEXT;

DROP INDEX inbound_pending;
CREATE INDEX inbound_pending ON inbound (session_id, seq, trigger, kind, command, not_before)
    WHERE state = 'pending';

ALTER TABLE sessions DROP COLUMN cap_noticed;
ALTER TABLE sessions ADD COLUMN cap_noticed TEXT NOT NULL DEFAULT '[]';   -- JSON: where this burst's notice went
