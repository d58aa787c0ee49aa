-- The family of a key: the first key of those that create each other. Each key of an earlier release begins one.
ALTER TABLE keys ADD COLUMN family TEXT NOT NULL DEFAULT '';
UPDATE keys SET family = id;
-- Counting the live ones and those of one family, from the index alone.
DROP INDEX keys_by_end;
CREATE INDEX keys_by_end ON keys (over_at, family);
