-- Runs that judge a simulation's conversations again.
CREATE TABLE evaluation_runs (
    inserted      INTEGER PRIMARY KEY,
    id            TEXT    NOT NULL UNIQUE,
    simulation_id TEXT    NOT NULL REFERENCES simulations (id),
    body          TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX evaluation_runs_by_creation ON evaluation_runs (simulation_id, created_at);

-- The result of a run for one conversation.
CREATE TABLE run_results (
    run_id          TEXT    NOT NULL REFERENCES evaluation_runs (id),
    conversation_id TEXT    NOT NULL REFERENCES conversations (id),
    failed          INTEGER NOT NULL,
    body            TEXT    NOT NULL,
    PRIMARY KEY (run_id, conversation_id)
) STRICT, WITHOUT ROWID;

-- People's outcomes on a conversation.
CREATE TABLE labels (
    simulation_id   TEXT NOT NULL REFERENCES simulations (id),
    conversation_id TEXT NOT NULL REFERENCES conversations (id),
    body            TEXT NOT NULL,
    PRIMARY KEY (simulation_id, conversation_id)
) STRICT, WITHOUT ROWID;
