-- Rows of the outbox that could not be read: kept for a person to look at, so that those behind them are published.
CREATE TABLE outbox_unreadable (
    id          INTEGER PRIMARY KEY,
    body        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    found_at    INTEGER NOT NULL
) STRICT;
