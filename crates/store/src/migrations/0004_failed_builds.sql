-- The failed builds of a pipeline, however many succeeded in between. A query must say these words to be served by it.
CREATE INDEX builds_failed ON builds (pipeline, queued_at, id) WHERE outcome IN ('failed', 'timed_out');
