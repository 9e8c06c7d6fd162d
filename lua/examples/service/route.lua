-- By a service of your own: it is told who asks for what, and says the group. While it is away, or says
-- nothing that is known, the query goes to the default group. It must be named in `rules.http.allow`.
--
-- Each submit waits for the answer, here up to 100 ms. So ask only about queries for which it matters: questions
-- about metadata, which tools ask one after the other, go without.

local ROUTER = "http://127.0.0.1:9000/route"

function route(request: Request): Answer?
  local query = request.query
  if query.is_metadata then
    return nil
  end
  local answer, why = http.post(ROUTER, {
    user = request.user,
    source = request.source,
    kind = query.kind,
    tables = query.tables,
  }, { timeout = "100ms" })
  if answer == nil then
    return { rule = "router-away", reason = why }
  end
  local group = answer.json and answer.json.group
  if answer.status == 200 and groups[group] then
    return { group = group, rule = "router" }
  end
  return { rule = "router-odd", reason = "the router answered " .. answer.status }
end
