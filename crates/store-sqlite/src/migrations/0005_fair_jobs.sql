-- Jobs are taken by kind, and within a kind projects take turns.
ALTER TABLE jobs ADD COLUMN judging INTEGER NOT NULL DEFAULT 0 CHECK (judging IN (0, 1));
UPDATE jobs SET judging = 1 WHERE id GLOB 'judge_conversation:*';
DROP INDEX jobs_by_due;
-- Finding the next project's oldest job, and knowing when the next will be due.
CREATE INDEX jobs_by_turn ON jobs (judging, due, project_id);
