-- `busy` is the group while a rollout is under way, so that a group has one at a time.
CREATE TABLE rollouts (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    route_group  TEXT    NOT NULL,
    busy         TEXT    UNIQUE,
    revision     INTEGER NOT NULL,
    document     TEXT    NOT NULL,
    abort_by     TEXT,
    abort_reason TEXT
);
