-- How `queues` follows `jobs`: what may be claimed, what runs. PostgreSQL has the same in its own words.

CREATE TRIGGER queues_new AFTER INSERT ON jobs WHEN new.state = 'queued' AND new.held = 0 BEGIN
    INSERT INTO queues (label_set, pipeline, priority, queued, running, served_at, since)
        VALUES (new.label_set, new.pipeline, 0, 0, 0, 0, new.queued_at) ON CONFLICT DO NOTHING;
    INSERT INTO queues (label_set, pipeline, priority, queued, running, served_at, since)
        SELECT label_set, pipeline, new.priority, 1, running, served_at, new.queued_at FROM queues
        WHERE label_set = new.label_set AND pipeline = new.pipeline AND priority = 0
        ON CONFLICT (label_set, pipeline, priority) DO UPDATE SET queued = queues.queued + 1,
            since = CASE queues.queued WHEN 0 THEN excluded.since ELSE queues.since END;
END;

CREATE TRIGGER queues_more AFTER UPDATE OF state, held ON jobs
    WHEN new.state = 'queued' AND new.held = 0 AND NOT (old.state = 'queued' AND old.held = 0) BEGIN
    INSERT INTO queues (label_set, pipeline, priority, queued, running, served_at, since)
        VALUES (new.label_set, new.pipeline, 0, 0, 0, 0, new.queued_at) ON CONFLICT DO NOTHING;
    INSERT INTO queues (label_set, pipeline, priority, queued, running, served_at, since)
        SELECT label_set, pipeline, new.priority, 1, running, served_at, new.queued_at FROM queues
        WHERE label_set = new.label_set AND pipeline = new.pipeline AND priority = 0
        ON CONFLICT (label_set, pipeline, priority) DO UPDATE SET queued = queues.queued + 1,
            since = CASE queues.queued WHEN 0 THEN excluded.since ELSE queues.since END;
END;

CREATE TRIGGER queues_fewer AFTER UPDATE OF state, held ON jobs
    WHEN old.state = 'queued' AND old.held = 0 AND NOT (new.state = 'queued' AND new.held = 0) BEGIN
    UPDATE queues SET queued = queued - 1
        WHERE label_set = old.label_set AND pipeline = old.pipeline AND priority = old.priority;
    DELETE FROM queues WHERE label_set = old.label_set AND pipeline = old.pipeline AND priority = old.priority
        AND queued = 0 AND priority <> 0;
END;

CREATE TRIGGER queues_served AFTER UPDATE OF state ON jobs WHEN new.state = 'running' AND old.state <> 'running' BEGIN
    UPDATE queues SET running = running + 1, served_at = new.started_at
        WHERE label_set = new.label_set AND pipeline = new.pipeline;
END;

CREATE TRIGGER queues_free AFTER UPDATE OF state ON jobs WHEN old.state = 'running' AND new.state <> 'running' BEGIN
    UPDATE queues SET running = running - 1 WHERE label_set = new.label_set AND pipeline = new.pipeline;
END;
