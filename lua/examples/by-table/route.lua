-- By what a statement touches: one catalog has a group of its own, and one table is closed to writers.

function route(request)
  local query = request.query
  for _, name in ipairs(query.tables) do
    if name == "hive.finance.ledger" and not query.is_read_only then
      return { reject = "hive.finance.ledger is written by the nightly job alone", rule = "ledger" }
    end
  end
  if table.find(query.catalogs, "iceberg") then
    return { group = "olap", rule = "iceberg" }
  end
  return nil
end
