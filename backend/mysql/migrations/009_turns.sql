-- The priority among whose jobs a job with a fair key has its turn. A key has turns of its own
-- for each priority.
ALTER TABLE plainjobs_job_fair ADD COLUMN IF NOT EXISTS priority smallint NOT NULL DEFAULT 0;
UPDATE plainjobs_job_fair f JOIN plainjobs_job j ON j.id = f.job SET f.priority = j.priority WHERE j.priority <> 0;
ALTER TABLE plainjobs_job_fair DROP KEY IF EXISTS job_fair_key, ADD KEY job_fair_key (name, key_text, priority, turn, nth);
