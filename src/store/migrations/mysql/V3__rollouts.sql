-- `busy` is the group while a rollout is under way, so that a group has one at a time.
CREATE TABLE IF NOT EXISTS rollouts (
    id           BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    route_group  VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    busy         VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin UNIQUE,
    revision     BIGINT UNSIGNED NOT NULL,
    document     MEDIUMTEXT      NOT NULL,
    abort_by     VARCHAR(255),
    abort_reason VARCHAR(1024)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
