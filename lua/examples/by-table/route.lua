-- By what a statement touches: one catalog has a group of its own, and one table is closed to writers but for
-- the job that fills it.
--
-- `query.tables` does not say which table is written. So a statement that writes elsewhere and only reads this
-- one is refused too.
--
-- This keeps honest users from a mistake. It is no access control: the source is the client's word, a view has
-- a name of its own, and for a statement with more than 300 tables the rules fail, so that it runs unless
-- `on_error = "reject"`. Who may write what is for Trino's own access control to say.

local LEDGER, WRITER = "hive.finance.ledger", "nightly-ledger"

function route(request: Request): Answer?
  local query = request.query
  if request.source ~= WRITER and not query.is_read_only and table.find(query.tables, LEDGER) then
    return { reject = LEDGER .. " is written by the nightly job alone", rule = "ledger" }
  end
  if table.find(query.catalogs, "iceberg") then
    return { group = "olap", rule = "iceberg" }
  end
  return nil
end
