-- `content` is a fingerprint of all texts: the same ones are one version. `used_ms` is when a version came into force last.
CREATE TABLE IF NOT EXISTS rule_versions (
    number  BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    content CHAR(64)        CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
    hash    VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    author  VARCHAR(255)    NOT NULL,
    comment VARCHAR(1024)   NOT NULL,
    at_ms   BIGINT UNSIGNED NOT NULL,
    used_ms BIGINT UNSIGNED,
    script  MEDIUMTEXT      NOT NULL,
    tests   MEDIUMTEXT      NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How often the active version changed, its number, and that of the one before; 0 is the rules file.
INSERT IGNORE INTO versions (name, value) VALUES ('rules', 0), ('rules_active', 0), ('rules_before', 0);
