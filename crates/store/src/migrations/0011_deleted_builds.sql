-- Builds that were deleted, for as long as an event of theirs may come to the record once more.
CREATE TABLE deleted_builds (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    deleted_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deleted_builds_by_age ON deleted_builds (deleted_at);
