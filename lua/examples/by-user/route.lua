-- By user: teams, service accounts, and one that is locked out.
--
-- The name is what the client says in `X-Trino-User`; Warren does not check it, and a client may leave it out.
-- So this sorts honest users. Whom to let in at all is for Trino to say.

local TEAM = { ana = "bi", ben = "olap" }
local LOCKED = { mallory = "ask the data team for a new account" }

function route(request: Request): Answer?
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
