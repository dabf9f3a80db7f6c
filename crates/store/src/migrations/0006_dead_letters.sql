-- Messages that could not be processed and jobs that were given up, until a person has decided. One row for each message:
-- a job's is named by the job.
CREATE TABLE dead_letters (
    id             BLOB PRIMARY KEY CHECK (length(id) = 16),
    message_id     BLOB NOT NULL UNIQUE CHECK (length(message_id) = 16),
    cause          TEXT NOT NULL
        CHECK (cause IN ('not_json', 'unknown_version', 'refused', 'never_settled', 'job_lost')),
    reason         TEXT NOT NULL,
    deaths         INTEGER NOT NULL CHECK (deaths >= 1),
    first_at       INTEGER NOT NULL,
    died_at        INTEGER NOT NULL,
    exchange       TEXT,
    routing_key    TEXT,
    correlation_id TEXT,
    reply_to       TEXT,
    content_type   TEXT NOT NULL,
    -- Of the whole body, of which the beginning alone may be kept.
    size           INTEGER NOT NULL CHECK (size >= length(body)),
    body           BLOB NOT NULL,
    build          BLOB CHECK (length(build) = 16),
    job            BLOB CHECK (length(job) = 16),
    state          TEXT NOT NULL CHECK (state IN ('open', 'retried', 'discarded')),
    settled_by     TEXT,
    settled_at     INTEGER,
    -- Rises whenever it dies again: who retries it settles only what was read.
    changes        INTEGER NOT NULL,
    CHECK ((exchange IS NULL) = (routing_key IS NULL)),
    CHECK ((state = 'open') = (settled_at IS NULL)),
    CHECK ((settled_by IS NULL) = (settled_at IS NULL)),
    CHECK (cause <> 'job_lost' OR job IS NOT NULL)
) STRICT;
CREATE INDEX dead_letters_by_state ON dead_letters (state, id);
CREATE INDEX dead_letters_by_age ON dead_letters (died_at);
CREATE INDEX dead_letters_open_of_build ON dead_letters (build) WHERE state = 'open';

-- How often each cause was met, those included that are forgotten by now.
CREATE TABLE dead_letter_totals (
    cause          TEXT PRIMARY KEY,
    total          INTEGER NOT NULL CHECK (total >= 0)
) STRICT;
