-- A line without an end knows from which of its step's two streams it came.
ALTER TABLE open_lines ADD COLUMN err INTEGER NOT NULL DEFAULT 0 CHECK (err IN (0, 1));
