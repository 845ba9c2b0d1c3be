-- Which payloads are deleted when their jobs end. Flag 1048576 is of a job whose payload
-- was deleted.
ALTER TABLE plainjobs.job_setting
  ADD COLUMN drop_done   boolean NOT NULL DEFAULT false,
  ADD COLUMN drop_failed boolean NOT NULL DEFAULT false;
