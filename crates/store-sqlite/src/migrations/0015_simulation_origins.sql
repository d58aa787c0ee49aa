-- What created a simulation, for lists.
ALTER TABLE simulations ADD COLUMN batch_id TEXT GENERATED ALWAYS AS (json_extract(options, '$.batch.batch')) VIRTUAL;
ALTER TABLE simulations ADD COLUMN monitor_id TEXT
    GENERATED ALWAYS AS (json_extract(options, '$.monitor_run.monitor')) VIRTUAL;
CREATE INDEX simulations_by_batch ON simulations (batch_id, created_at) WHERE batch_id IS NOT NULL;
CREATE INDEX simulations_by_monitor ON simulations (monitor_id, created_at) WHERE monitor_id IS NOT NULL;
