-- How OneRun calls an agent, as JSON. Credentials in it are encrypted.
ALTER TABLE agents ADD COLUMN endpoint TEXT;
