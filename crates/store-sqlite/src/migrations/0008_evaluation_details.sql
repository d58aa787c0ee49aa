-- Optional facts about an evaluation.
ALTER TABLE evaluations ADD COLUMN details TEXT NOT NULL DEFAULT '{}';
