-- The request as the rules saw it, as JSON. A column that is there already is left, so that this may run again after a crash.
SET @add = (SELECT IF(COUNT(*) = 0, 'ALTER TABLE query_routes ADD COLUMN request TEXT', 'DO 0')
    FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'query_routes' AND column_name = 'request');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
