-- The personas that the caller of a simulation wrote.
CREATE TABLE explicit_personas (
    simulation_id TEXT NOT NULL PRIMARY KEY REFERENCES simulations (id),
    body          TEXT NOT NULL
) STRICT;
