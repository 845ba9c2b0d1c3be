-- Which payloads are deleted when their jobs end. Flag 1048576 is of a job whose payload
-- was deleted.
ALTER TABLE plainjobs_job_setting ADD COLUMN drop_done   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plainjobs_job_setting ADD COLUMN drop_failed INTEGER NOT NULL DEFAULT 0;
