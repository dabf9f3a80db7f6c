-- How often a group has lost its place in the stream, and what that cost each topic.
ALTER TABLE groups ADD COLUMN losses INTEGER NOT NULL DEFAULT 0 CHECK (losses >= 0);
-- What comes next of this epoch is taken though others before it are missing: they may be gone for good.
ALTER TABLE topics ADD COLUMN may_skip INTEGER NOT NULL DEFAULT 0 CHECK (may_skip IN (0, 1));
-- Events that will never be recorded.
ALTER TABLE topics ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0 CHECK (skipped >= 0);

-- Log lines that will never be recorded.
CREATE TABLE missing_lines (
    job         BLOB NOT NULL CHECK (length(job) = 16),
    attempt     INTEGER NOT NULL,
    first_line  INTEGER NOT NULL CHECK (first_line >= 0),
    line_count  INTEGER NOT NULL CHECK (line_count >= 1),
    PRIMARY KEY (job, attempt, first_line)
) STRICT, WITHOUT ROWID;
