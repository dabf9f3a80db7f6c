-- By whom people sign in besides their passwords: what the provider of OpenID Connect `issuer` calls somebody (`sub`), which
-- it never gives to another one. An account that has none but this has '' as its password, which is no hash of any.
CREATE TABLE identities (
    issuer       TEXT NOT NULL,
    subject      TEXT NOT NULL CHECK (subject <> ''),
    account      BLOB NOT NULL CHECK (length(account) = 16),
    linked_at    INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
-- One of each provider.
CREATE UNIQUE INDEX identities_by_account ON identities (account, issuer);

-- Answers of a provider that were looked at: none is good twice. Kept for as long as it would be good otherwise.
CREATE TABLE openid_answers (
    sha256       TEXT PRIMARY KEY,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX openid_answers_by_age ON openid_answers (expires_at);
