-- Conversations that were held elsewhere, until they are imported.
CREATE TABLE imports (
    simulation_id TEXT NOT NULL PRIMARY KEY REFERENCES simulations (id) ON DELETE CASCADE,
    conversations TEXT NOT NULL
) STRICT;
