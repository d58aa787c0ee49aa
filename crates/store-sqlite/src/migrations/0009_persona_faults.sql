-- The faults of a conversation's persona, and the severity of the worst one.
ALTER TABLE conversations ADD COLUMN persona_faults TEXT NOT NULL DEFAULT '[]';
ALTER TABLE conversations ADD COLUMN worst_fault TEXT;
