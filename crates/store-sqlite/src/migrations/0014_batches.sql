-- Batches, which start many simulations. Lists read `body` only; `items` has the status of each item.
CREATE TABLE batches (
    inserted    INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    project_id  TEXT    NOT NULL REFERENCES projects (id),
    name_folded TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    defaults    TEXT    NOT NULL,
    items       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX batches_by_creation ON batches (project_id, created_at);
CREATE INDEX batches_by_name ON batches (project_id, name_folded, created_at);

-- The settings of a batch's items, in parts.
CREATE TABLE batch_parts (
    batch_id TEXT    NOT NULL REFERENCES batches (id),
    number   INTEGER NOT NULL,
    body     TEXT    NOT NULL,
    PRIMARY KEY (batch_id, number)
) STRICT, WITHOUT ROWID;
