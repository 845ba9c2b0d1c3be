-- What is stored for a job that is pushed alone, next to its row: one statement for its
-- span and its counts. It is a view, not a trigger of the table, because SQLite copies
-- the rows of an INSERT into a table with triggers.
CREATE VIEW plainjobs_push AS SELECT id FROM plainjobs_job;
CREATE TRIGGER plainjobs_push_insert INSTEAD OF INSERT ON plainjobs_push BEGIN
  INSERT INTO plainjobs_ready (name, suspect, rank, run_at, last, first)
    SELECT name, 0, -priority, run_at, id, id FROM plainjobs_job WHERE id = NEW.id;
  INSERT INTO plainjobs_job_count (name, state, jobs)
    SELECT name, 3, 1 FROM plainjobs_job WHERE id = NEW.id UNION ALL SELECT 0, 0, NEW.id WHERE true
    ON CONFLICT (name, state) DO UPDATE SET jobs = CASE state WHEN 0 THEN max(jobs, excluded.jobs) ELSE jobs + excluded.jobs END;
END;
