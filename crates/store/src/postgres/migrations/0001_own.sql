-- A function that SQLite has and the shared statements use.
CREATE FUNCTION unhex(hex TEXT) RETURNS BYTEA LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT decode(hex, 'hex') $$;

-- A row of an index is at most a third of a page here, and an artifact's name can be longer.
DROP INDEX artifacts_by_job;
CREATE INDEX artifacts_by_job ON artifacts (job, attempt);
