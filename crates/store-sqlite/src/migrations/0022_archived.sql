-- When an agent or a project was archived.
ALTER TABLE agents ADD COLUMN archived_at INTEGER;
ALTER TABLE projects ADD COLUMN archived_at INTEGER;
