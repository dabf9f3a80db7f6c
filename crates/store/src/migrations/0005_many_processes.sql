-- What the processes of an installation share: a secret is offered once and never changed.
CREATE TABLE secrets (
    name        TEXT PRIMARY KEY,
    value       BLOB NOT NULL
) STRICT;

-- Gateway instances as they last told of themselves, workers as JSON.
CREATE TABLE gateways (
    instance    TEXT PRIMARY KEY,
    workers     TEXT NOT NULL,
    heard_at    INTEGER NOT NULL
) STRICT;

-- How often a callback came back to be kept: who handed it over forgets only what it saw.
ALTER TABLE callbacks ADD COLUMN kept INTEGER NOT NULL DEFAULT 1;
