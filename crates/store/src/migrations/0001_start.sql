-- Everything that Stepcast keeps. Times are microseconds since the Unix epoch, ids are 16 bytes, and each CHECK repeats
-- what the types of `model` promise.

CREATE TABLE pipelines (
    name        TEXT PRIMARY KEY,
    spec        TEXT NOT NULL,
    yaml        TEXT NOT NULL,
    revision    INTEGER NOT NULL CHECK (revision >= 1),
    updated_at  INTEGER NOT NULL
) STRICT;

-- The last number given to a build of each pipeline.
CREATE TABLE build_numbers (
    pipeline    TEXT PRIMARY KEY,
    last        INTEGER NOT NULL CHECK (last >= 1)
) STRICT;

CREATE TABLE label_sets (
    label_set   TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE builds (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    pipeline        TEXT NOT NULL,
    number          INTEGER NOT NULL CHECK (number >= 1),
    inputs          TEXT NOT NULL,
    reply           TEXT,
    epoch           INTEGER NOT NULL CHECK (epoch >= 1),
    revision        INTEGER NOT NULL CHECK (revision >= 0),
    queued_at       INTEGER NOT NULL,
    cancelling      INTEGER NOT NULL CHECK (cancelling IN (0, 1)),
    state           TEXT NOT NULL CHECK (state IN ('queued', 'running', 'finished')),
    outcome         TEXT CHECK (outcome IN ('succeeded', 'skipped', 'failed', 'timed_out', 'cancelled')),
    started_at      INTEGER,
    finished_at     INTEGER,
    jobs_total      INTEGER NOT NULL CHECK (jobs_total >= 0),
    jobs_finished   INTEGER NOT NULL CHECK (jobs_finished BETWEEN 0 AND jobs_total),
    idempotency_key TEXT,
    digest          TEXT,
    UNIQUE (pipeline, number),
    CHECK ((state = 'finished') = (outcome IS NOT NULL)),
    CHECK ((state = 'finished') = (finished_at IS NOT NULL)),
    CHECK (state <> 'running' OR started_at IS NOT NULL),
    CHECK (state <> 'queued' OR started_at IS NULL),
    CHECK ((idempotency_key IS NULL) = (digest IS NULL))
) STRICT;
CREATE UNIQUE INDEX builds_by_key ON builds (pipeline, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX builds_by_time ON builds (queued_at, id);
CREATE INDEX builds_by_pipeline ON builds (pipeline, queued_at, id);
CREATE INDEX builds_by_state ON builds (state, queued_at, id);

CREATE TABLE jobs (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    build       BLOB NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    place       INTEGER NOT NULL CHECK (place >= 0),
    label_set   TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    plan        TEXT NOT NULL,
    attempt     INTEGER NOT NULL CHECK (attempt >= 0),
    failures    INTEGER NOT NULL CHECK (failures >= 0),
    losses      INTEGER NOT NULL CHECK (losses >= 0),
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'queued', 'running', 'finished')),
    -- When its needs were met; kept while it runs and after.
    queued_at   INTEGER,
    started_at  INTEGER,
    finished_at INTEGER,
    executor    BLOB CHECK (length(executor) = 16),
    incarnation BLOB CHECK (length(incarnation) = 16),
    claim_id    BLOB CHECK (length(claim_id) = 16),
    expires_at  INTEGER,
    cancelling  INTEGER NOT NULL CHECK (cancelling IN (0, 1)),
    outcome     TEXT CHECK (outcome IN ('succeeded', 'skipped', 'failed', 'timed_out', 'cancelled')),
    reason      TEXT,
    last_offset INTEGER CHECK (last_offset >= 0),
    UNIQUE (build, place),
    CHECK (state <> 'queued' OR queued_at IS NOT NULL),
    CHECK ((state = 'running') = (incarnation IS NOT NULL)),
    CHECK ((state = 'running') = (claim_id IS NOT NULL)),
    CHECK ((state = 'running') = (expires_at IS NOT NULL)),
    CHECK (state <> 'running' OR (executor IS NOT NULL AND started_at IS NOT NULL AND attempt >= 1)),
    CHECK ((state = 'finished') = (outcome IS NOT NULL)),
    CHECK ((state = 'finished') = (finished_at IS NOT NULL)),
    CHECK (cancelling = 0 OR state = 'running')
) STRICT;
CREATE INDEX jobs_queued ON jobs (label_set, priority DESC, losses DESC, queued_at, id) WHERE state = 'queued';
CREATE INDEX jobs_claimed ON jobs (claim_id) WHERE state = 'running';
CREATE INDEX jobs_leased ON jobs (expires_at) WHERE state = 'running';
CREATE INDEX jobs_held ON jobs (executor) WHERE state = 'running';

CREATE TABLE leases (
    name        TEXT PRIMARY KEY,
    holder      BLOB NOT NULL CHECK (length(holder) = 16),
    term        INTEGER NOT NULL CHECK (term >= 1),
    expires_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    body        TEXT NOT NULL
) STRICT;

-- How far each topic is recorded. kind 0 is a build's topic, 1 a job's; last is -1 before the first event.
CREATE TABLE topics (
    kind        INTEGER NOT NULL CHECK (kind IN (0, 1)),
    id          BLOB NOT NULL CHECK (length(id) = 16),
    epoch       INTEGER NOT NULL CHECK (epoch >= 0),
    last        INTEGER NOT NULL CHECK (last >= -1),
    -- The offset at which the epoch is complete, once its end was announced.
    until       INTEGER,
    sealed      INTEGER NOT NULL CHECK (sealed IN (0, 1)),
    -- The number of the next log line, and how many lines before it have no end yet.
    lines       INTEGER NOT NULL CHECK (lines >= 0),
    open        INTEGER NOT NULL CHECK (open >= 0),
    PRIMARY KEY (kind, id, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE build_events (
    build       BLOB NOT NULL CHECK (length(build) = 16),
    epoch       INTEGER NOT NULL,
    place       INTEGER NOT NULL CHECK (place >= 0),
    at          INTEGER NOT NULL,
    client_id   BLOB CHECK (length(client_id) = 16),
    event       TEXT NOT NULL,
    PRIMARY KEY (build, epoch, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    job         BLOB NOT NULL CHECK (length(job) = 16),
    attempt     INTEGER NOT NULL,
    step        INTEGER NOT NULL CHECK (step >= 0),
    name        TEXT NOT NULL,
    command     TEXT NOT NULL,
    outcome     TEXT CHECK (outcome IN ('succeeded', 'skipped', 'failed', 'timed_out', 'cancelled')),
    exit_code   INTEGER,
    reason      TEXT,
    started_at  INTEGER,
    finished_at INTEGER,
    first_line  INTEGER CHECK (first_line >= 0),
    PRIMARY KEY (job, attempt, step),
    CHECK ((outcome IS NULL) = (finished_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE log_chunks (
    job         BLOB NOT NULL CHECK (length(job) = 16),
    attempt     INTEGER NOT NULL,
    first_line  INTEGER NOT NULL CHECK (first_line >= 0),
    line_count  INTEGER NOT NULL CHECK (line_count >= 1),
    t0          INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (job, attempt, first_line)
) STRICT, WITHOUT ROWID;

CREATE TABLE open_lines (
    job         BLOB NOT NULL CHECK (length(job) = 16),
    attempt     INTEGER NOT NULL,
    n           INTEGER NOT NULL CHECK (n >= 0),
    step        INTEGER NOT NULL,
    t           INTEGER NOT NULL,
    split       INTEGER NOT NULL CHECK (split IN (0, 1)),
    text        TEXT NOT NULL,
    PRIMARY KEY (job, attempt, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    job         BLOB NOT NULL CHECK (length(job) = 16),
    attempt     INTEGER NOT NULL,
    name        TEXT NOT NULL,
    size        INTEGER NOT NULL CHECK (size >= 0),
    sha256      TEXT NOT NULL
) STRICT;
CREATE INDEX artifacts_by_job ON artifacts (job, attempt, name);

CREATE TABLE groups (
    name        TEXT PRIMARY KEY,
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),
    place       INTEGER NOT NULL CHECK (place >= 0)
) STRICT;

CREATE TABLE executors (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),
    name        TEXT NOT NULL,
    labels      TEXT NOT NULL,
    slots       INTEGER NOT NULL CHECK (slots >= 0),
    heard_at    INTEGER NOT NULL,
    has_left    INTEGER NOT NULL CHECK (has_left IN (0, 1))
) STRICT;

CREATE TABLE sessions (
    id          TEXT PRIMARY KEY,
    data        BLOB NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE tokens (
    sha256      TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    role        TEXT NOT NULL CHECK (role IN ('owner'))
) STRICT;

CREATE TABLE sign_in_links (
    sha256      TEXT PRIMARY KEY,
    expires_at  INTEGER NOT NULL
) STRICT;

-- What happened once and is remembered for good (or, for `checked`, until next time), and when.
CREATE TABLE facts (
    name        TEXT PRIMARY KEY,
    at          INTEGER NOT NULL
) STRICT;

CREATE TABLE callbacks (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id  BLOB NOT NULL UNIQUE CHECK (length(message_id) = 16),
    client      BLOB NOT NULL CHECK (length(client) = 16),
    reply_to    TEXT,
    body        BLOB NOT NULL,
    kept_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX callbacks_by_client ON callbacks (client, id);
CREATE INDEX callbacks_by_age ON callbacks (kept_at);

-- One row: the stream's name, the oldest offset that counts, and the next one.
CREATE TABLE journal_meta (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),
    first       INTEGER NOT NULL CHECK (first >= 0),
    next        INTEGER NOT NULL CHECK (next >= first)
) STRICT;

CREATE TABLE journal_stream (
    place       INTEGER PRIMARY KEY CHECK (place >= 0),
    body        BLOB NOT NULL
) STRICT;

CREATE TABLE journal_messages (
    sequence    INTEGER PRIMARY KEY CHECK (sequence >= 0),
    queue       TEXT NOT NULL,
    deliveries  INTEGER NOT NULL CHECK (deliveries >= 0),
    message     BLOB NOT NULL
) STRICT;
