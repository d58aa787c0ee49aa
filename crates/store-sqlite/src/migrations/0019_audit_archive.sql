-- The last entry of the audit trail that is archived. No list has the entries up to it, and they are deleted in steps.
CREATE TABLE audit_archive (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    sequence INTEGER NOT NULL,
    hash     TEXT    NOT NULL
) STRICT;
