-- What workers have seen of the silence of a worker that does not renew its
-- row: for which seen_at, when last, by which worker, and how many microseconds
-- of it count. See Silence in package backend. All are 0 if there is none.
ALTER TABLE plainjobs.workers
  ADD COLUMN silent_seen bigint NOT NULL DEFAULT 0, -- microseconds UTC
  ADD COLUMN silent_at   bigint NOT NULL DEFAULT 0, -- microseconds UTC
  ADD COLUMN silent_by   bigint NOT NULL DEFAULT 0,
  ADD COLUMN silent_for  bigint NOT NULL DEFAULT 0, -- microseconds
  -- What tells on the worker's own host whether its process has ended, or empty.
  ADD COLUMN process     text   NOT NULL DEFAULT '';
