-- What waits for an executor, so that a claim finds the next job in a few steps, however many wait. One row for each label
-- set, pipeline and priority of which jobs may be claimed, and one of priority 0 that stays: it remembers when the pipeline
-- was served last. `running` and `served_at` are the same in all rows of a label set and pipeline. Triggers keep it,
-- because whoever changes a job changes it.
CREATE TABLE queues (
    label_set   TEXT NOT NULL,
    pipeline    TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    queued      INTEGER NOT NULL CHECK (queued >= 0),
    running     INTEGER NOT NULL CHECK (running >= 0),
    -- When a job of the pipeline was granted last; 0 if none was.
    served_at   INTEGER NOT NULL,
    -- Since when something may be claimed here.
    since       INTEGER NOT NULL,
    PRIMARY KEY (label_set, pipeline, priority)
) STRICT, WITHOUT ROWID;
CREATE INDEX queues_first ON queues (label_set, priority DESC, running, served_at, since, pipeline) WHERE queued > 0;

ALTER TABLE jobs ADD COLUMN pipeline TEXT NOT NULL DEFAULT '';
-- It waits for a concurrency group, and must not be claimed though it is queued.
ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));
UPDATE jobs SET pipeline = (SELECT builds.pipeline FROM builds WHERE builds.id = jobs.build);
DROP INDEX jobs_queued;
CREATE INDEX jobs_first ON jobs (label_set, pipeline, priority, losses DESC, queued_at, id)
    WHERE state = 'queued' AND held = 0;

INSERT INTO queues (label_set, pipeline, priority, queued, running, served_at, since)
    SELECT label_set, pipeline, 0, 0, SUM(CASE state WHEN 'running' THEN 1 ELSE 0 END), COALESCE(MAX(started_at), 0), 0
    FROM jobs WHERE state IN ('queued', 'running') GROUP BY label_set, pipeline;
INSERT INTO queues (label_set, pipeline, priority, queued, running, served_at, since)
    SELECT queued.label_set, queued.pipeline, queued.priority, queued.many, base.running, base.served_at, queued.since
    FROM (SELECT label_set, pipeline, priority, COUNT(*) AS many, MIN(queued_at) AS since FROM jobs
        WHERE state = 'queued' GROUP BY label_set, pipeline, priority) AS queued
    JOIN queues AS base ON base.label_set = queued.label_set AND base.pipeline = queued.pipeline AND base.priority = 0
    WHERE true
    ON CONFLICT (label_set, pipeline, priority) DO UPDATE SET queued = excluded.queued, since = excluded.since;

-- The concurrency group of a build as a whole, as JSON.
ALTER TABLE builds ADD COLUMN concurrency TEXT;

-- Who is in a concurrency group: builds (kind 0) and jobs (kind 1), from when they are queued until they are finished. Groups
-- of builds and groups of jobs have nothing to do with each other: so who has a place as a job waits for nobody who waits.
CREATE TABLE concurrency (
    kind        INTEGER NOT NULL CHECK (kind IN (0, 1)),
    id          BLOB NOT NULL CHECK (length(id) = 16),
    name        TEXT NOT NULL,
    build       BLOB NOT NULL CHECK (length(build) = 16),
    pipeline    TEXT NOT NULL,
    number      INTEGER NOT NULL CHECK (number >= 1),
    -- When its build was accepted: the order in which places are given.
    queued_at   INTEGER NOT NULL,
    -- How many may have a place at once, as this one's pipeline says.
    places      INTEGER NOT NULL CHECK (places >= 1),
    -- It has a place.
    admitted    INTEGER NOT NULL CHECK (admitted IN (0, 1)),
    -- The build that has taken its turn: it gets no place any more, and ends.
    superseded_by TEXT,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX concurrency_by_name ON concurrency (kind, name, admitted, queued_at, id);
CREATE INDEX concurrency_superseded ON concurrency (kind, id) WHERE superseded_by IS NOT NULL;
