-- What runs did, by name and minute. A worker replaces its rows of a minute. They
-- are merged by the hour once they are an hour old. The histograms of time waited
-- and time run are those of package internal/histogram.
CREATE TABLE plainjobs.activity_minute (
  at        bigint NOT NULL,
  name      text   NOT NULL,
  worker    bigint NOT NULL,
  done      bigint NOT NULL,
  retried   bigint NOT NULL,
  failed    bigint NOT NULL,
  cancelled bigint NOT NULL,
  waited    bytea  NOT NULL,
  ran       bytea  NOT NULL,
  PRIMARY KEY (at, name, worker)
);

CREATE TABLE plainjobs.activity_hour (
  at        bigint NOT NULL,
  name      text   NOT NULL,
  done      bigint NOT NULL,
  retried   bigint NOT NULL,
  failed    bigint NOT NULL,
  cancelled bigint NOT NULL,
  waited    bytea  NOT NULL,
  ran       bytea  NOT NULL,
  PRIMARY KEY (at, name)
);
