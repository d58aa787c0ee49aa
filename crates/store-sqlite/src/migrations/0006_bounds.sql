-- When a key is over, revoked or expired, in microseconds; the largest number for one that goes on.
ALTER TABLE keys ADD COLUMN over_at INTEGER NOT NULL DEFAULT 9223372036854775807;
UPDATE keys SET over_at = MIN(
    COALESCE(body ->> '$.revoked_at', over_at),
    COALESCE(body ->> '$.expires_at', over_at),
    COALESCE(body ->> '$.replaced.overlap_ends_at', over_at)
);
-- Counting the live ones, and finding those that are long over.
CREATE INDEX keys_by_end ON keys (over_at);

-- Finding those that are kept no longer.
CREATE INDEX dead_jobs_by_age ON dead_jobs (buried_at);
