-- A canary: five of a hundred users get the new cluster, and each of them always. While it is away or full they
-- are as all others.
--
-- The cluster must be in the settings, active, and in a group of its own: beside others it takes its share of
-- their queries too. If it is not in the settings the rules fail for these users, which no test notices.

local NEW = "olap-green"

function route(request: Request): Answer?
  if in_share(request.user, 5) and cluster[NEW].has_room then
    return { cluster = NEW, rule = "canary" }
  end
  return nil
end
