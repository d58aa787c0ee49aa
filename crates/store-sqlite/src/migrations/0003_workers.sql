-- When a worker last asked for an agent's work.
ALTER TABLE agents ADD COLUMN last_polled_at INTEGER;

-- How each attempt that is over ended: [[attempt, end_reason, failure_reason, ended_at], …].
ALTER TABLE conversations ADD COLUMN ended_attempts TEXT NOT NULL DEFAULT '[]';
