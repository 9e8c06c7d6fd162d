CREATE TABLE leases (
    name     TEXT    NOT NULL PRIMARY KEY,
    holder   TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    until_ms INTEGER NOT NULL
) WITHOUT ROWID;
