-- The webhooks of a project, all in one document.
CREATE TABLE webhooks (
    project_id TEXT PRIMARY KEY REFERENCES projects (id),
    body       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Deliveries, also of webhooks that were deleted.
CREATE TABLE webhook_deliveries (
    inserted   INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    project_id TEXT    NOT NULL REFERENCES projects (id),
    webhook_id TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX webhook_deliveries_by_creation ON webhook_deliveries (project_id, webhook_id, created_at);
CREATE INDEX webhook_deliveries_by_state ON webhook_deliveries (project_id, webhook_id, state, created_at);
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_at);
