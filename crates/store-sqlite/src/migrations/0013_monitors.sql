-- Monitors, which start simulations on a schedule.
CREATE TABLE monitors (
    inserted    INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    project_id  TEXT    NOT NULL REFERENCES projects (id),
    name_folded TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    next_run_at INTEGER,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX monitors_by_creation ON monitors (project_id, created_at);
CREATE INDEX monitors_by_name ON monitors (project_id, name_folded, created_at);
CREATE INDEX monitors_by_next_run ON monitors (next_run_at) WHERE next_run_at IS NOT NULL;

-- The runs of monitors, also of deleted ones.
CREATE TABLE monitor_runs (
    inserted   INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    project_id TEXT    NOT NULL REFERENCES projects (id),
    monitor_id TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    planned_at INTEGER NOT NULL
) STRICT;
CREATE INDEX monitor_runs_by_time ON monitor_runs (project_id, monitor_id, planned_at);
CREATE INDEX monitor_runs_by_age ON monitor_runs (planned_at);
