-- How an executor keeps the steps of its jobs from the rest of its machine; those that have not told do not.
ALTER TABLE executors ADD COLUMN isolation TEXT NOT NULL DEFAULT 'plain' CHECK (isolation IN ('plain', 'sandbox'));
