-- A canary: five of a hundred users get the new cluster, and each of them always. When it is away they
-- are as all others.

local NEW = "olap-green"

function route(request)
  if in_share(request.user, 5) and cluster[NEW].ready then
    return { cluster = NEW, rule = "canary" }
  end
  return nil
end
