-- What a person wishes of a consumer group, and what its active member last told of it. Where the group stands is in `groups`.
CREATE TABLE group_states (
    name        TEXT PRIMARY KEY,
    paused      INTEGER NOT NULL CHECK (paused IN (0, 1)),
    -- A rebuild is wanted, and one is under way: what the group keeps is not whole until it has ended.
    rebuild     INTEGER NOT NULL CHECK (rebuild IN (0, 1)),
    building    INTEGER NOT NULL CHECK (building IN (0, 1)),
    state       TEXT NOT NULL CHECK (state IN ('running', 'paused', 'rebuilding', 'failing')),
    reason      TEXT,
    done        INTEGER NOT NULL CHECK (done >= 0),
    total       INTEGER NOT NULL CHECK (total >= 0),
    -- Events a second.
    speed       INTEGER NOT NULL CHECK (speed >= 0),
    -- How far the stream was read: behind the group's place there was nothing for it up to here.
    incarnation BLOB CHECK (length(incarnation) = 16),
    passed      INTEGER CHECK (passed >= 0),
    active      TEXT
) STRICT;

-- Processes that may read for a group.
CREATE TABLE group_members (
    name        TEXT NOT NULL,
    member      TEXT NOT NULL,
    heard_at    INTEGER NOT NULL,
    PRIMARY KEY (name, member)
) STRICT, WITHOUT ROWID;

-- The group `analytics`: counters by day (from 1970-01-01, UTC). `kind` says what is counted, `bucket` of what: see sql/analytics.
CREATE TABLE analytics_counts (
    pipeline    TEXT NOT NULL,
    kind        INTEGER NOT NULL,
    day         INTEGER NOT NULL,
    job         TEXT NOT NULL,
    step        TEXT NOT NULL,
    bucket      INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (pipeline, kind, day, job, step, bucket)
) STRICT, WITHOUT ROWID;
CREATE INDEX analytics_by_day ON analytics_counts (day, kind);

-- How far it has applied each topic's epoch (P5), as in `topics`, and what it must remember of it until the next event.
CREATE TABLE analytics_topics (
    kind        INTEGER NOT NULL CHECK (kind IN (0, 1)),
    id          BLOB NOT NULL CHECK (length(id) = 16),
    epoch       INTEGER NOT NULL CHECK (epoch >= 0),
    last        INTEGER NOT NULL CHECK (last >= -1),
    until       INTEGER,
    sealed      INTEGER NOT NULL CHECK (sealed IN (0, 1)),
    may_skip    INTEGER NOT NULL CHECK (may_skip IN (0, 1)),
    -- A build: when it ended, as it was counted. An attempt: that its end was counted.
    ended_at    INTEGER,
    -- An attempt: whose, and the step that runs.
    pipeline    TEXT,
    job         TEXT,
    step        INTEGER,
    step_name   TEXT,
    step_at     INTEGER,
    -- When its last event was written. Whether it is over: it is forgotten some time after.
    at          INTEGER NOT NULL,
    over        INTEGER NOT NULL CHECK (over IN (0, 1)),
    PRIMARY KEY (kind, id, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX analytics_over ON analytics_topics (over, at);

-- The newest time that control has told of, to the group.
CREATE TABLE analytics_time (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    at          INTEGER NOT NULL
) STRICT;
