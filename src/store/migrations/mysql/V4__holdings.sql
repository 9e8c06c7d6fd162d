CREATE TABLE IF NOT EXISTS holdings (
    gateway  VARCHAR(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    process  BIGINT UNSIGNED NOT NULL,
    told_ms  BIGINT UNSIGNED NOT NULL,
    document MEDIUMTEXT      NOT NULL,
    PRIMARY KEY (gateway, process)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
