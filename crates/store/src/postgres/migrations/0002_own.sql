-- How `queues` follows `jobs`: what may be claimed, what runs. SQLite has the same in its own words. An older process that
-- still runs writes no pipeline with a job.

CREATE FUNCTION stepcast_named() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.pipeline = '' THEN
        new.pipeline := (SELECT builds.pipeline FROM builds WHERE builds.id = new.build);
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER jobs_named BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION stepcast_named();

CREATE FUNCTION stepcast_queued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO queues (label_set, pipeline, priority, queued, running, served_at, since)
        VALUES (new.label_set, new.pipeline, 0, 0, 0, 0, new.queued_at) ON CONFLICT DO NOTHING;
    INSERT INTO queues (label_set, pipeline, priority, queued, running, served_at, since)
        SELECT label_set, pipeline, new.priority, 1, running, served_at, new.queued_at FROM queues
        WHERE label_set = new.label_set AND pipeline = new.pipeline AND priority = 0
        ON CONFLICT (label_set, pipeline, priority) DO UPDATE SET queued = queues.queued + 1,
            since = CASE queues.queued WHEN 0 THEN excluded.since ELSE queues.since END;
    RETURN NULL;
END $$;
CREATE TRIGGER queues_new AFTER INSERT ON jobs FOR EACH ROW
    WHEN (new.state = 'queued' AND new.held = 0) EXECUTE FUNCTION stepcast_queued();
CREATE TRIGGER queues_more AFTER UPDATE OF state, held ON jobs FOR EACH ROW
    WHEN (new.state = 'queued' AND new.held = 0 AND NOT (old.state = 'queued' AND old.held = 0))
    EXECUTE FUNCTION stepcast_queued();

CREATE FUNCTION stepcast_not_queued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE queues SET queued = queued - 1
        WHERE label_set = old.label_set AND pipeline = old.pipeline AND priority = old.priority;
    DELETE FROM queues WHERE label_set = old.label_set AND pipeline = old.pipeline AND priority = old.priority
        AND queued = 0 AND priority <> 0;
    RETURN NULL;
END $$;
CREATE TRIGGER queues_fewer AFTER UPDATE OF state, held ON jobs FOR EACH ROW
    WHEN (old.state = 'queued' AND old.held = 0 AND NOT (new.state = 'queued' AND new.held = 0))
    EXECUTE FUNCTION stepcast_not_queued();

CREATE FUNCTION stepcast_served() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE queues SET running = running + 1, served_at = new.started_at
        WHERE label_set = new.label_set AND pipeline = new.pipeline;
    RETURN NULL;
END $$;
CREATE TRIGGER queues_served AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (new.state = 'running' AND old.state <> 'running') EXECUTE FUNCTION stepcast_served();

CREATE FUNCTION stepcast_free() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE queues SET running = running - 1 WHERE label_set = new.label_set AND pipeline = new.pipeline;
    RETURN NULL;
END $$;
CREATE TRIGGER queues_free AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (old.state = 'running' AND new.state <> 'running') EXECUTE FUNCTION stepcast_free();
