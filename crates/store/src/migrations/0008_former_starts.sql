-- Starts of executors that a later start has taken the place of: what such a one still says is no longer heard.
CREATE TABLE former_starts (
    executor    BLOB NOT NULL CHECK (length(executor) = 16),
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),
    replaced_at INTEGER NOT NULL,
    PRIMARY KEY (executor, incarnation)
) STRICT, WITHOUT ROWID;
