-- When the deletion of a simulation's transcripts began.
ALTER TABLE simulations ADD COLUMN transcripts_deleted_at INTEGER;
CREATE INDEX simulations_by_end ON simulations (updated_at)
WHERE transcripts_deleted_at IS NULL AND status IN ('completed', 'failed', 'canceled', 'expired');
