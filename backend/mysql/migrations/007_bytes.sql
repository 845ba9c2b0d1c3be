-- How many bytes the finished jobs of the name may take; 0 if there is no bound.
ALTER TABLE plainjobs_job_setting ADD COLUMN keep_bytes bigint NOT NULL DEFAULT 0;
