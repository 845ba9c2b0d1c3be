-- What people did, the latest backend.KeepActions.
CREATE TABLE plainjobs_action (
  id      INTEGER PRIMARY KEY, -- grows: only the oldest are deleted
  at      INTEGER NOT NULL,
  seen_at INTEGER NOT NULL,
  who     TEXT    NOT NULL,
  what    TEXT    NOT NULL,
  target  TEXT    NOT NULL,
  jobs    INTEGER NOT NULL,
  total   INTEGER NOT NULL,
  ending  TEXT    NOT NULL
) STRICT;
