-- What runs did, by name and minute. A worker replaces its rows of a minute. They
-- are merged by the hour once they are an hour old. The histograms of time waited
-- and time run are those of package internal/histogram.
CREATE TABLE plainjobs_activity_minute (
  at        INTEGER NOT NULL,
  name      INTEGER NOT NULL,
  worker    INTEGER NOT NULL,
  done      INTEGER NOT NULL,
  retried   INTEGER NOT NULL,
  failed    INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  waited    BLOB    NOT NULL,
  ran       BLOB    NOT NULL,
  PRIMARY KEY (at, name, worker)
) STRICT, WITHOUT ROWID;

CREATE TABLE plainjobs_activity_hour (
  at        INTEGER NOT NULL,
  name      INTEGER NOT NULL,
  done      INTEGER NOT NULL,
  retried   INTEGER NOT NULL,
  failed    INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  waited    BLOB    NOT NULL,
  ran       BLOB    NOT NULL,
  PRIMARY KEY (at, name)
) STRICT, WITHOUT ROWID;
