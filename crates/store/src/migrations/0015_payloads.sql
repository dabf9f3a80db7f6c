-- Payloads that stand apart from their messages. `kept_at` is when one was brought or used last; 0 once nothing more is to
-- be made of it.
CREATE TABLE payloads (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    size            INTEGER NOT NULL CHECK (size >= 0),
    sha256          TEXT NOT NULL,
    content_type    TEXT NOT NULL,
    kept_at         INTEGER NOT NULL
) STRICT;
CREATE INDEX payloads_by_age ON payloads (kept_at);

-- Builds that have a payload as an input.
CREATE TABLE payload_uses (
    payload         BLOB NOT NULL CHECK (length(payload) = 16),
    build           BLOB NOT NULL CHECK (length(build) = 16),
    PRIMARY KEY (payload, build)
) STRICT, WITHOUT ROWID;
CREATE INDEX payload_uses_by_build ON payload_uses (build);

-- The payload that a kept callback claims.
ALTER TABLE callbacks ADD COLUMN payload BLOB CHECK (length(payload) = 16);
CREATE INDEX callbacks_by_payload ON callbacks (payload) WHERE payload IS NOT NULL;
