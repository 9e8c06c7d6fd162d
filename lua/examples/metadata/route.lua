-- Metadata apart: what tools ask about tables, schemas and types goes to bi, so that it waits behind no report.
-- Reports go to olap, and to bi only while olap cannot take them: while it is away, or full by `max_running`.

function route(request: Request): Answer?
  if request.query.is_metadata then
    return { group = "bi", rule = "metadata" }
  end
  return { groups = { "olap", "bi" }, rule = "report" }
end
