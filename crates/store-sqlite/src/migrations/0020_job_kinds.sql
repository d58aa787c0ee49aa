-- A third kind of jobs: calls to addresses that users name.
DROP INDEX jobs_by_turn;
ALTER TABLE jobs ADD COLUMN kind INTEGER NOT NULL DEFAULT 0 CHECK (kind IN (0, 1, 2));
UPDATE jobs SET kind = judging;
ALTER TABLE jobs DROP COLUMN judging;
CREATE INDEX jobs_by_turn ON jobs (kind, due, project_id);
