-- The attempts of a job that were lost since a person last queued it, as JSON.
ALTER TABLE jobs ADD COLUMN lost TEXT NOT NULL DEFAULT '[]';
