-- What a worker defines, as JSON; empty until it has defined its settings.
ALTER TABLE plainjobs.worker ADD COLUMN defined text NOT NULL DEFAULT '';

-- The other columns of job_setting have what applies. override has what people
-- set, and what applies without it, as JSON; it is empty if there is none.
ALTER TABLE plainjobs.job_setting
  ADD COLUMN differ      boolean NOT NULL DEFAULT false, -- workers define different settings
  ADD COLUMN override    text    NOT NULL DEFAULT '';
