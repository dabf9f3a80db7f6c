-- Who or what a build was triggered by, as JSON; none for those of before it was kept.
ALTER TABLE builds ADD COLUMN triggered_by TEXT;
