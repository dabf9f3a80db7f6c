-- People. `password` is a hash in the PHC format, with its parameters.
CREATE TABLE accounts (
    id           BLOB PRIMARY KEY CHECK (length(id) = 16),
    name         TEXT NOT NULL,
    -- The name in lower case: no two are told apart by case alone.
    name_key     TEXT NOT NULL UNIQUE,
    password     TEXT NOT NULL,
    -- JSON, as in program_tokens.
    grants       TEXT NOT NULL,
    -- Admin everywhere, and not disabled: one is always left.
    runs         INTEGER NOT NULL CHECK (runs IN (0, 1)),
    disabled     INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    -- Raised when all its sessions are to end: a session of a former generation is none.
    generation   INTEGER NOT NULL CHECK (generation >= 0),
    created_at   INTEGER NOT NULL,
    signed_in_at INTEGER,
    CHECK (runs = 0 OR disabled = 0)
) STRICT;

-- Links by which somebody makes an account of their own, once.
CREATE TABLE invitations (
    sha256       TEXT PRIMARY KEY,
    grants       TEXT NOT NULL,
    -- Who made it, for people.
    invited_by   TEXT NOT NULL,
    account      BLOB CHECK (length(account) = 16),
    -- What it is for, for people.
    note         TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_by_account ON program_tokens (account);
