-- The request as the rules saw it, as JSON.
ALTER TABLE query_routes ADD COLUMN request TEXT;
