CREATE TABLE project (id TEXT PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE agent (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    description TEXT,
    metadata TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE objective (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES project (id),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE objective_version (
    objective_id TEXT NOT NULL REFERENCES objective (id),
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    criteria TEXT NOT NULL,
    PRIMARY KEY (objective_id, version)
) WITHOUT ROWID;

CREATE TABLE simulation (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES project (id),
    agent_id TEXT NOT NULL REFERENCES agent (id),
    name TEXT NOT NULL,
    scenario TEXT NOT NULL,
    status TEXT NOT NULL,
    auto_approve INTEGER NOT NULL,
    max_turns INTEGER NOT NULL,
    target_conversations INTEGER NOT NULL,
    target_personas INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    expires_at TEXT,
    last_failure_reason TEXT
) WITHOUT ROWID;

CREATE TABLE simulation_objective (
    simulation_id TEXT NOT NULL REFERENCES simulation (id),
    position INTEGER NOT NULL,
    objective_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (simulation_id, position),
    FOREIGN KEY (objective_id, version) REFERENCES objective_version (objective_id, version)
) WITHOUT ROWID;
