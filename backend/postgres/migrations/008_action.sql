-- What people did, the latest backend.KeepActions.
CREATE TABLE plainjobs.action (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at      bigint NOT NULL,
  seen_at bigint NOT NULL,
  who     text   NOT NULL,
  what    text   NOT NULL,
  target  text   NOT NULL,
  jobs    bigint NOT NULL,
  total   bigint NOT NULL,
  ending  text   NOT NULL
);
