-- MySQL commits after each CREATE TABLE. Every statement here may run again after a crash between
-- two of them.
CREATE TABLE IF NOT EXISTS query_routes (
    query_id      VARCHAR(40)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    cluster       VARCHAR(64)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    route_group   VARCHAR(64)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    rule          VARCHAR(255),
    user_name     VARCHAR(255),
    source        VARCHAR(255),
    client_tags   VARCHAR(1024),
    statement     TEXT              NOT NULL,
    submitted_ms  BIGINT UNSIGNED,
    submitted_by  VARCHAR(64),
    submitted_seq BIGINT UNSIGNED,
    ended_ms      BIGINT UNSIGNED,
    ended_by      VARCHAR(64),
    ended_seq     BIGINT UNSIGNED,
    end_rank      TINYINT UNSIGNED,
    end_cause     VARCHAR(32),
    state         VARCHAR(32),
    error         VARCHAR(255)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS coordinators (
    coordinator   CHAR(5)           CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    cluster       VARCHAR(64)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    first_seen_ms BIGINT UNSIGNED   NOT NULL,
    last_seen_ms  BIGINT UNSIGNED   NOT NULL,
    PRIMARY KEY (coordinator, cluster)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS versions (
    name          VARCHAR(64)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    value         BIGINT UNSIGNED   NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO versions (name, value) VALUES ('intents', 0);

CREATE TABLE IF NOT EXISTS intents (
    cluster       VARCHAR(64)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    intent        VARCHAR(32)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    actor         VARCHAR(255)      NOT NULL,
    reason        VARCHAR(1024)     NOT NULL,
    at_ms         BIGINT UNSIGNED   NOT NULL,
    version       BIGINT UNSIGNED   NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS admin_events (
    id            BIGINT UNSIGNED   NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at_ms         BIGINT UNSIGNED   NOT NULL,
    actor         VARCHAR(255)      NOT NULL,
    action        VARCHAR(64)       CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    subject       VARCHAR(64)       NOT NULL,
    detail        VARCHAR(255)      NOT NULL,
    reason        VARCHAR(1024)     NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
