CREATE TABLE query_routes (
    query_id      TEXT    NOT NULL PRIMARY KEY,
    cluster       TEXT    NOT NULL,
    route_group   TEXT    NOT NULL,
    rule          TEXT,
    user_name     TEXT,
    source        TEXT,
    client_tags   TEXT,
    statement     TEXT    NOT NULL,
    submitted_ms  INTEGER,
    submitted_by  TEXT,
    submitted_seq INTEGER,
    ended_ms      INTEGER,
    ended_by      TEXT,
    ended_seq     INTEGER,
    end_rank      INTEGER,
    end_cause     TEXT,
    state         TEXT,
    error         TEXT
) WITHOUT ROWID;

CREATE TABLE coordinators (
    coordinator   TEXT    NOT NULL,
    cluster       TEXT    NOT NULL,
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms  INTEGER NOT NULL,
    PRIMARY KEY (coordinator, cluster)
) WITHOUT ROWID;

CREATE TABLE versions (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO versions (name, value) VALUES ('intents', 0);

CREATE TABLE intents (
    cluster TEXT    NOT NULL PRIMARY KEY,
    intent  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    version INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE admin_events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    reason  TEXT    NOT NULL
);
