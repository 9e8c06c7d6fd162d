-- Where other gateways reach the one whose mark this is; and the id that a query had while it was held.
ALTER TABLE coordinators ADD COLUMN peer TEXT;
ALTER TABLE query_routes ADD COLUMN held_id TEXT;
