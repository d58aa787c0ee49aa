-- Managed keys, how they were used, and the audit trail of what was done to them.
--
-- What a key, a use, a call or an entry is stands as JSON in `body`, in the form that all backends share. Beside it
-- are what it is found by and what decides about writing.

CREATE TABLE keys (
    inserted   INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;

-- Listing keys, newest first.
CREATE INDEX keys_by_creation ON keys (created_at);

-- How a key was used, apart from the key: this is written while it is used, the key only when somebody changes it.
CREATE TABLE key_uses (
    key_id     TEXT PRIMARY KEY REFERENCES keys (id),
    written_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;

-- Calls that made a key, under their `Idempotency-Key`.
CREATE TABLE key_calls (
    caller          TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body            TEXT NOT NULL,
    PRIMARY KEY (caller, idempotency_key)
) STRICT;

-- The audit trail. The last row is its head.
CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    hash     TEXT NOT NULL,
    body     TEXT NOT NULL
) STRICT;
