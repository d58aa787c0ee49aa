-- The first form of the database.
--
-- Times are microseconds since 1970-01-01 UTC. States are the words of the wire. `inserted` is the order in which
-- rows were added: it breaks ties between equal times, so that pages of a list never overlap. As the rowid it is the
-- silent last column of every index.

CREATE TABLE projects (
    inserted    INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

-- Listing projects, by each of their orders.
CREATE INDEX projects_by_creation ON projects (created_at);
CREATE INDEX projects_by_name ON projects (name_folded, created_at);

CREATE TABLE agents (
    inserted    INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    project_id  TEXT NOT NULL REFERENCES projects (id),
    name        TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    description TEXT,
    metadata    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

-- Listing agents, by each of their orders.
CREATE INDEX agents_by_creation ON agents (project_id, created_at);
CREATE INDEX agents_by_name ON agents (project_id, name_folded, created_at);

-- An objective over all its versions: which one is newest, and what lists are sorted by.
CREATE TABLE objectives (
    inserted    INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    project_id  TEXT NOT NULL REFERENCES projects (id),
    version     INTEGER NOT NULL CHECK (version >= 1),
    name_folded TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- Listing objectives, by each of their orders.
CREATE INDEX objectives_by_creation ON objectives (project_id, created_at);
CREATE INDEX objectives_by_name ON objectives (project_id, name_folded, created_at);

-- A version is written once and never changed.
CREATE TABLE objective_versions (
    objective_id TEXT NOT NULL REFERENCES objectives (id),
    version      INTEGER NOT NULL CHECK (version >= 1),
    name         TEXT NOT NULL,
    criteria     TEXT NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (objective_id, version)
) STRICT;

CREATE TABLE simulations (
    inserted             INTEGER PRIMARY KEY,
    id                   TEXT NOT NULL UNIQUE,
    project_id           TEXT NOT NULL REFERENCES projects (id),
    agent_id             TEXT NOT NULL REFERENCES agents (id),
    name                 TEXT NOT NULL,
    name_folded          TEXT NOT NULL,
    scenario             TEXT NOT NULL,
    target_conversations INTEGER NOT NULL CHECK (target_conversations >= 1),
    target_personas      INTEGER NOT NULL CHECK (target_personas >= 1),
    max_turns            INTEGER NOT NULL CHECK (max_turns >= 1),
    auto_approve         INTEGER NOT NULL CHECK (auto_approve IN (0, 1)),
    seed                 INTEGER NOT NULL,
    metadata             TEXT NOT NULL,
    status               TEXT NOT NULL CHECK (
        status IN ('pending', 'in_progress', 'completed', 'failed', 'canceled', 'expired')
    ),
    last_failure_reason  TEXT,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,
    expires_at           INTEGER NOT NULL
) STRICT;

-- Listing simulations by creation and by name; in one status, or sorted by status; of one agent, and counting those.
CREATE INDEX simulations_by_creation ON simulations (project_id, created_at);
CREATE INDEX simulations_by_name ON simulations (project_id, name_folded, created_at);
CREATE INDEX simulations_by_status ON simulations (project_id, status, created_at);
CREATE INDEX simulations_by_agent ON simulations (project_id, agent_id, created_at);
-- Finding the expired ones.
CREATE INDEX simulations_by_expiry ON simulations (expires_at) WHERE status IN ('pending', 'in_progress');

-- The objectives that a simulation pins, in the order it names them.
CREATE TABLE simulation_objectives (
    simulation_id TEXT NOT NULL REFERENCES simulations (id),
    position      INTEGER NOT NULL,
    objective_id  TEXT NOT NULL,
    version       INTEGER NOT NULL,
    PRIMARY KEY (simulation_id, position),
    FOREIGN KEY (objective_id, version) REFERENCES objective_versions (objective_id, version)
) STRICT, WITHOUT ROWID;

-- Apart from `simulations`, because it changes with every settled conversation and SQLite rewrites a whole row, long
-- texts and all, for one number.
CREATE TABLE simulation_progress (
    simulation_id        TEXT NOT NULL PRIMARY KEY REFERENCES simulations (id),
    settled              INTEGER NOT NULL DEFAULT 0,
    conversations_failed INTEGER NOT NULL DEFAULT 0,
    evaluations_failed   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE personas (
    inserted      INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    simulation_id TEXT NOT NULL REFERENCES simulations (id),
    seq           INTEGER NOT NULL CHECK (seq >= 1),
    approval      TEXT NOT NULL CHECK (approval IN ('pending', 'approved', 'rejected')),
    summary       TEXT NOT NULL,
    story         TEXT NOT NULL,
    purpose       TEXT NOT NULL,
    attributes    TEXT NOT NULL,
    metadata      TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    -- Also answers which numbers a simulation has.
    UNIQUE (simulation_id, seq),
    -- What conversations refer to, so that a persona holds those of its own simulation alone.
    UNIQUE (simulation_id, id)
) STRICT;

-- Listing personas, and counting them by approval.
CREATE INDEX personas_by_creation ON personas (simulation_id, created_at);
CREATE INDEX personas_by_approval ON personas (simulation_id, approval);

CREATE TABLE conversations (
    inserted          INTEGER PRIMARY KEY,
    id                TEXT NOT NULL UNIQUE,
    simulation_id     TEXT NOT NULL REFERENCES simulations (id),
    persona_id        TEXT NOT NULL,
    seq               INTEGER NOT NULL CHECK (seq >= 1),
    status            TEXT NOT NULL CHECK (status IN ('queued', 'in_progress', 'ended', 'failed')),
    end_reason        TEXT,
    evaluation_status TEXT NOT NULL CHECK (
        evaluation_status IN ('pending', 'in_progress', 'completed', 'failed', 'not_applicable')
    ),
    attempt           INTEGER NOT NULL CHECK (attempt >= 1),
    item_count        INTEGER NOT NULL,
    lease_expires_at  INTEGER,
    turn_token        TEXT,
    turn_expires_at   INTEGER,
    queued_at         INTEGER NOT NULL,
    -- Whether nothing is left to happen; kept, so that what is left can be indexed.
    settled           INTEGER NOT NULL CHECK (settled IN (0, 1)),
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    UNIQUE (simulation_id, seq),
    FOREIGN KEY (simulation_id, persona_id) REFERENCES personas (simulation_id, id),
    CHECK ((turn_token IS NULL) = (turn_expires_at IS NULL))
) STRICT;

-- Listing conversations: all of a simulation, and those in one status.
CREATE INDEX conversations_by_creation ON conversations (simulation_id, created_at);
CREATE INDEX conversations_by_status ON conversations (simulation_id, status, created_at);
-- Listing those that wait, longest first; and finding the simulations that have any.
CREATE INDEX conversations_by_wait ON conversations (simulation_id, queued_at) WHERE status = 'queued';
-- Finding those whose lease ran out; and, when the database is opened, the claimed turns.
CREATE INDEX conversations_by_lease ON conversations (lease_expires_at) WHERE status = 'in_progress';
-- Finding those with something left to happen.
CREATE INDEX conversations_unsettled ON conversations (simulation_id) WHERE settled = 0;

-- Messages. Without a rowid, so that a transcript lies together in the order it is read.
CREATE TABLE items (
    conversation_id TEXT NOT NULL REFERENCES conversations (id),
    attempt         INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    id              TEXT NOT NULL,
    role            TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    content         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, attempt, position)
) STRICT, WITHOUT ROWID;

-- Replies, kept under the caller's `Idempotency-Key`.
CREATE TABLE turns (
    conversation_id TEXT NOT NULL REFERENCES conversations (id),
    key             TEXT NOT NULL,
    input_hash      TEXT NOT NULL,
    attempt         INTEGER NOT NULL,
    reply_text      TEXT,
    reply_ended     INTEGER NOT NULL CHECK (reply_ended IN (0, 1)),
    PRIMARY KEY (conversation_id, key)
) STRICT, WITHOUT ROWID;

-- Verdicts: one for each objective of a judged attempt.
CREATE TABLE evaluations (
    conversation_id   TEXT NOT NULL REFERENCES conversations (id),
    attempt           INTEGER NOT NULL,
    objective_id      TEXT NOT NULL,
    objective_version INTEGER NOT NULL,
    id                TEXT NOT NULL,
    judge             TEXT NOT NULL,
    prompt_hash       TEXT NOT NULL,
    outcome           TEXT NOT NULL CHECK (outcome IN ('passed', 'failed', 'inconclusive')),
    score             REAL CHECK (score BETWEEN 0.0 AND 1.0),
    reason            TEXT NOT NULL,
    quotes            TEXT NOT NULL,
    created_at        INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, attempt, objective_id, objective_version),
    FOREIGN KEY (objective_id, objective_version) REFERENCES objective_versions (objective_id, version)
) STRICT, WITHOUT ROWID;

-- Jobs that wait or are being worked on.
CREATE TABLE jobs (
    inserted   INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    project_id TEXT NOT NULL,
    work       TEXT NOT NULL,
    -- When it may be taken: 0 is at once, so that those are taken in the order they were added.
    due        INTEGER NOT NULL DEFAULT 0,
    -- Whether it is being worked on; then it is due when its taker is given up.
    claimed    INTEGER NOT NULL DEFAULT 0 CHECK (claimed IN (0, 1)),
    -- Whether it was called for again while it was being worked on.
    again      INTEGER NOT NULL DEFAULT 0 CHECK (again IN (0, 1)),
    deliveries INTEGER NOT NULL DEFAULT 0,
    last_error TEXT
) STRICT;

-- Taking what is due, and knowing when the next will be.
CREATE INDEX jobs_by_due ON jobs (due);

-- Jobs that were given up, where they block no other. One that is given up again replaces its earlier row.
CREATE TABLE dead_jobs (
    inserted   INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    project_id TEXT NOT NULL,
    work       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    buried_at  INTEGER NOT NULL
) STRICT;
