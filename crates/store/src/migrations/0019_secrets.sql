-- Secrets of jobs, encrypted: what opens them is nowhere in the database.
CREATE TABLE job_secrets (
    -- Empty for one of the installation.
    pipeline TEXT NOT NULL,
    name     TEXT NOT NULL CHECK (name <> ''),
    -- The key that opens it.
    key_id   TEXT NOT NULL,
    sealed   BLOB NOT NULL,
    -- JSON: of one of the installation, the pipelines that may use it. None: all may.
    allowed  TEXT NOT NULL,
    set_at   INTEGER NOT NULL,
    set_by   TEXT NOT NULL,
    PRIMARY KEY (pipeline, name),
    CHECK (pipeline = '' OR allowed = '[]')
) STRICT, WITHOUT ROWID;
