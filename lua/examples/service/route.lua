-- By a service of your own: it is told who asks for what, and says the group. While it is away, or says
-- nothing that is known, the query goes to the default group. It must be named in `rules.http.allow`.

local ROUTER = "http://127.0.0.1:9000/route"

function route(request)
  local query = request.query
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
