-- How the result of a build is told to who asked for it, and how far that has come.
CREATE TABLE replies (
    build          BLOB PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
    mode           TEXT NOT NULL CHECK (mode IN ('callback', 'webhook', 'queue')),
    -- A client's id, a URL or a queue's name.
    address        TEXT NOT NULL,
    -- Who takes it: what has the same receiver shares its slots.
    receiver       TEXT NOT NULL,
    correlation_id TEXT,
    asked_by       TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('waiting', 'due', 'sent', 'delivered', 'received', 'stopped')),
    -- Of the message that tells the last end of the build.
    message_id     BLOB CHECK (length(message_id) = 16),
    attempts       INTEGER NOT NULL CHECK (attempts >= 0),
    -- When the build ended, and when the next try is.
    due_at         INTEGER,
    next_at        INTEGER,
    last_error     TEXT,
    delivered_at   INTEGER,
    received_at    INTEGER,
    CHECK ((state = 'waiting') = (message_id IS NULL)),
    CHECK ((state = 'waiting') = (due_at IS NULL)),
    CHECK (state <> 'due' OR next_at IS NOT NULL),
    CHECK (state <> 'received' OR received_at IS NOT NULL)
) STRICT;
CREATE INDEX replies_next ON replies (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX replies_by_message ON replies (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX replies_by_client ON replies (address) WHERE state = 'sent';
CREATE INDEX replies_not_received ON replies (asked_by, due_at)
    WHERE due_at IS NOT NULL AND delivered_at IS NULL AND received_at IS NULL;
