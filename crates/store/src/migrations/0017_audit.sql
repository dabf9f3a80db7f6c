-- Who did what, and when. No row refers to another table: an entry outlives what it names.
CREATE TABLE audit_log (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    action      TEXT NOT NULL,
    subject     TEXT NOT NULL,
    name        TEXT NOT NULL,
    account     BLOB CHECK (length(account) = 16),
    address     TEXT,
    pipeline    TEXT,
    build       BLOB CHECK (length(build) = 16),
    detail      TEXT
) STRICT;
CREATE INDEX audit_by_age ON audit_log (at);
CREATE INDEX audit_by_pipeline ON audit_log (pipeline, id);
CREATE INDEX audit_by_name ON audit_log (name, id);

-- Tokens, with what is granted to them. Those of `tokens` had one role, which is admin everywhere now.
CREATE TABLE program_tokens (
    sha256      TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    -- JSON: {"everywhere": role, "pipelines": {name: role}}.
    grants      TEXT NOT NULL,
    -- The account that made it, which it can do no more than; none when it was made on the server's machine.
    account     BLOB CHECK (length(account) = 16),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    used_at     INTEGER
) STRICT;
INSERT INTO program_tokens (sha256, name, grants, created_at) SELECT sha256, name, '{"everywhere":"admin"}', 0 FROM tokens;
