-- A simulation's optional settings.
ALTER TABLE simulations ADD COLUMN options TEXT NOT NULL DEFAULT '{}';

-- What calls to models consumed. `day` is a date in UTC.
CREATE TABLE model_usage (
    project_id     TEXT    NOT NULL REFERENCES projects (id),
    simulation_id  TEXT    NOT NULL REFERENCES simulations (id),
    day            TEXT    NOT NULL,
    purpose        TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    -- The API key that created the simulation; empty for simulations of earlier releases.
    created_by     TEXT    NOT NULL,
    calls          INTEGER NOT NULL,
    failed_calls   INTEGER NOT NULL,
    unpriced_calls INTEGER NOT NULL,
    input          INTEGER NOT NULL,
    cached_input   INTEGER NOT NULL,
    cache_write    INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    reasoning      INTEGER NOT NULL,
    cost           INTEGER NOT NULL,
    PRIMARY KEY (simulation_id, day, purpose, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_usage_by_day ON model_usage (project_id, day);
