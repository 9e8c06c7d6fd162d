CREATE TABLE holdings (
    gateway  TEXT    NOT NULL,
    process  INTEGER NOT NULL,
    told_ms  INTEGER NOT NULL,
    document TEXT    NOT NULL,
    PRIMARY KEY (gateway, process)
) WITHOUT ROWID;
