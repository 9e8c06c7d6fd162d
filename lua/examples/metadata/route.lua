-- Metadata apart: what tools ask about tables, schemas and types never waits behind a report.

function route(request)
  if request.query.is_metadata then
    return { group = "bi", rule = "metadata" }
  end
  -- If bi is full, olap.
  return { groups = { "bi", "olap" }, rule = "spill" }
end
