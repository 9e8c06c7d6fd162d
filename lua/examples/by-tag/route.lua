-- By client tag: whoever tags a query says where it belongs.

local GROUP_OF = { dashboard = "bi", adhoc = "olap" }

function route(request: Request): Answer?
  for _, tag in ipairs(request.client_tags or {}) do
    local group = GROUP_OF[tag]
    if group ~= nil then
      return { group = group, rule = "tag-" .. tag }
    end
  end
  return nil
end
