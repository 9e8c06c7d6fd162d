-- Where other gateways reach the one whose mark this is; and the id that a query had while it was held.
-- A column that is there already is left, so that this may run again after a crash.
SET @add = (SELECT IF(COUNT(*) = 0,
    'ALTER TABLE coordinators ADD COLUMN peer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin',
    'DO 0') FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'coordinators' AND column_name = 'peer');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;

SET @add = (SELECT IF(COUNT(*) = 0,
    'ALTER TABLE query_routes ADD COLUMN held_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin',
    'DO 0') FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'query_routes' AND column_name = 'held_id');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
