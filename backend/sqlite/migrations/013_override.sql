-- What a worker defines, as JSON; empty until it has defined its settings.
ALTER TABLE plainjobs_worker ADD COLUMN defined TEXT NOT NULL DEFAULT '';

-- The other columns of job_setting have what applies. override has what people
-- set, and what applies without it, as JSON; it is empty if there is none.
ALTER TABLE plainjobs_job_setting ADD COLUMN differ      INTEGER NOT NULL DEFAULT 0; -- 1 if workers define different settings
ALTER TABLE plainjobs_job_setting ADD COLUMN override    TEXT    NOT NULL DEFAULT '';
