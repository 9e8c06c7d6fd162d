-- By user: teams, service accounts, and one that is locked out.

local TEAM = { ana = "bi", ben = "olap" }
local LOCKED = { mallory = "ask the data team for a new account" }

function route(request)
  local user = request.user
  if user == nil then
    return nil
  end
  if LOCKED[user] then
    return { reject = LOCKED[user], rule = "locked" }
  end
  if starts_with(user, "svc-") then
    return { group = "olap", rule = "services", add_client_tags = { "service" } }
  end
  return TEAM[user] and { group = TEAM[user], rule = "team" }
end
