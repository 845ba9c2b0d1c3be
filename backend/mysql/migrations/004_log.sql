-- What the handlers of the last runs of a job have logged, as lifecycle.PutLog writes it, or NULL.
ALTER TABLE plainjobs_job_progress ADD COLUMN logs longblob NULL;
