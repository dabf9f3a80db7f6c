-- Bytes of a finished build's logs and artifacts, once they were counted; nothing again when it changes.
ALTER TABLE builds ADD COLUMN bytes INTEGER CHECK (bytes >= 0);
CREATE INDEX builds_uncounted ON builds (finished_at) WHERE state = 'finished' AND bytes IS NULL;

-- What is left of deleted builds (kind 0) and their jobs (kind 1): rows of other tables go slice by slice, this one last.
CREATE TABLE leavings (
    kind        INTEGER NOT NULL CHECK (kind IN (0, 1)),
    id          BLOB NOT NULL CHECK (length(id) = 16),
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX dead_letters_by_build ON dead_letters (build) WHERE build IS NOT NULL;
