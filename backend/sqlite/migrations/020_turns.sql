-- The priority among whose jobs a job with a fair key has its turn. A key has turns of its
-- own for each priority.
ALTER TABLE plainjobs_job_fair ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
UPDATE plainjobs_job_fair SET priority = j.priority FROM plainjobs_job j WHERE j.id = plainjobs_job_fair.job AND j.priority <> 0;
DROP INDEX plainjobs_job_fair_key;
CREATE INDEX plainjobs_job_fair_key ON plainjobs_job_fair (name, key, priority, turn, nth);
