-- The hash of what an executor showed at its first registration: who shows something else is not it.
ALTER TABLE executors ADD COLUMN secret_sha256 TEXT;
