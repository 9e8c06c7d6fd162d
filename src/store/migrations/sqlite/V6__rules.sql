-- `content` is a fingerprint of all texts: the same ones are one version. `used_ms` is when a version came into force last.
CREATE TABLE rule_versions (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    content TEXT    NOT NULL UNIQUE,
    hash    TEXT    NOT NULL,
    author  TEXT    NOT NULL,
    comment TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    used_ms INTEGER,
    script  TEXT    NOT NULL,
    tests   TEXT    NOT NULL
);

-- How often the active version changed, its number, and that of the one before; 0 is the rules file.
INSERT INTO versions (name, value) VALUES ('rules', 0), ('rules_active', 0), ('rules_before', 0);
