-- What workers have seen of the silence of a worker that does not renew its
-- row: for which seen_at, when last, by which worker, and how many microseconds
-- of it count. See Silence in package backend. All are 0 if there is none.
ALTER TABLE plainjobs_workers ADD COLUMN silent_seen INTEGER NOT NULL DEFAULT 0; -- microseconds UTC
ALTER TABLE plainjobs_workers ADD COLUMN silent_at   INTEGER NOT NULL DEFAULT 0; -- microseconds UTC
ALTER TABLE plainjobs_workers ADD COLUMN silent_by   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plainjobs_workers ADD COLUMN silent_for  INTEGER NOT NULL DEFAULT 0; -- microseconds

-- What tells on the worker's own host whether its process has ended, or empty.
ALTER TABLE plainjobs_workers ADD COLUMN process TEXT NOT NULL DEFAULT '';
