-- What requests under an `Idempotency-Key` were answered with, for a day. Whoever repeats a request that made a key before
-- this migration makes another.
DROP TABLE key_calls;
CREATE TABLE idempotency_records (
    hash       TEXT NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX idempotency_records_by_expiry ON idempotency_records (expires_at);

-- Replies are no longer kept for ever. Those that are there are given another day.
ALTER TABLE turns ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
UPDATE turns SET created_at = unixepoch() * 1000000;
CREATE INDEX turns_by_age ON turns (created_at);
