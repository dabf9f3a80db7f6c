-- The search index. What is found is read from the record; here stands where to look. The words of a block stand beside it
-- in `search_words`, which each database has in its own way.

-- Lines of an attempt (kind 1, owner is the job), or what is known of a build (kind 0, owner is the build).
CREATE TABLE search_blocks (
    id          INTEGER PRIMARY KEY,
    kind        INTEGER NOT NULL CHECK (kind IN (0, 1)),
    owner       BLOB NOT NULL CHECK (length(owner) = 16),
    attempt     INTEGER NOT NULL CHECK (attempt >= 0),
    first_line  INTEGER NOT NULL CHECK (first_line >= 0),
    line_count  INTEGER NOT NULL CHECK (line_count >= 0),
    build       BLOB NOT NULL CHECK (length(build) = 16),
    -- The last block of an attempt grows with its log until it is full.
    is_full     INTEGER NOT NULL CHECK (is_full IN (0, 1)),
    UNIQUE (kind, owner, attempt, first_line)
) STRICT;

-- The number of the next line of each attempt that is not in the index.
CREATE TABLE search_logs (
    job         BLOB NOT NULL CHECK (length(job) = 16),
    attempt     INTEGER NOT NULL,
    next_line   INTEGER NOT NULL CHECK (next_line >= 0),
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;

-- One row: the id of the next block, and whether all that was recorded when the index began is in it.
CREATE TABLE search_state (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    next_block  INTEGER NOT NULL CHECK (next_block >= 1),
    is_whole    INTEGER NOT NULL CHECK (is_whole IN (0, 1))
) STRICT;
INSERT INTO search_state (one, next_block, is_whole) VALUES (1, 1, 0);
