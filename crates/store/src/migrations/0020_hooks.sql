-- Doors through which GitHub, Gitea and Forgejo say that something was pushed. Their secrets are derived, and stand nowhere.
CREATE TABLE hooks (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    pipeline    TEXT NOT NULL,
    provider    TEXT NOT NULL CHECK (provider IN ('github', 'gitea', 'forgejo')),
    generation  INTEGER NOT NULL CHECK (generation >= 1),
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL
) STRICT;
CREATE INDEX hooks_by_pipeline ON hooks (pipeline, created_at);

-- What was delivered and built, by the delivery's id and by the digest of its signature: a row for each. It outlives the
-- build, so that nobody has it built once more.
CREATE TABLE hook_deliveries (
    hook        BLOB NOT NULL CHECK (length(hook) = 16),
    mark        TEXT NOT NULL,
    build       BLOB NOT NULL CHECK (length(build) = 16),
    at          INTEGER NOT NULL,
    PRIMARY KEY (hook, mark)
) STRICT, WITHOUT ROWID;
CREATE INDEX hook_deliveries_by_age ON hook_deliveries (at);
