-- Simulations can be deleted. A deleted one is left out of the view `simulations`, which every statement but inserts,
-- updates and the purge reads, and stays in `all_simulations` until everything below it is purged.
ALTER TABLE simulations RENAME TO all_simulations;
ALTER TABLE all_simulations ADD COLUMN deleted_at INTEGER;
-- The idempotency record of the request that created the simulation.
ALTER TABLE all_simulations ADD COLUMN record_hash TEXT;
CREATE INDEX simulations_by_deletion ON all_simulations (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE VIEW simulations AS SELECT * FROM all_simulations WHERE deleted_at IS NULL;

-- Usage outlives its simulation, because it is the project's, too.
CREATE TABLE lasting_usage (
    project_id     TEXT    NOT NULL REFERENCES projects (id),
    simulation_id  TEXT    NOT NULL,
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
INSERT INTO lasting_usage
SELECT project_id, simulation_id, day, purpose, model, created_by, calls, failed_calls, unpriced_calls, input,
       cached_input, cache_write, output, reasoning, cost
FROM model_usage;
DROP TABLE model_usage;
ALTER TABLE lasting_usage RENAME TO model_usage;
CREATE INDEX model_usage_by_day ON model_usage (project_id, day);

-- Deleting a conversation with what refers to it.
CREATE INDEX run_results_by_conversation ON run_results (conversation_id);
CREATE INDEX labels_by_conversation ON labels (conversation_id);
