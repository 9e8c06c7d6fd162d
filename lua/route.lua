-- To which group a query goes.
--
-- Warren calls `route` for each new query; pages and cancels follow their query by themselves.
-- Save this file and the rules are in force within a second. A file with a mistake changes nothing:
-- the log says what is wrong and in which line. `warren check` says it beforehand.
--
-- The answer is the name of a group, or a table with the group, the name of the rule and a reason
-- (both are shown to operators), or nothing: then the query goes to `default_group`.
-- docs/rules.md tells what a request has to say.

-- The group is for heavy queries. Where the settings do not have it, those go to the default group.
local OLAP = groups.olap and "olap" or nil

function route(request: Request): Answer?
  local source = request.source

  -- A header that is present but empty is present, so `X-Trino-Client-Tags:` counts as tags.
  -- Tags are kept free for overrides: add a rule for them above the ones that follow.
  local tagged = request.client_tags ~= nil

  if source == "Apache Superset" and not tagged then
    return { group = "bi", rule = "superset", reason = "the source is Apache Superset" }
  end

  -- Querybook runs on the Python client and says nothing else of itself.
  if source == "trino-python-client" and not tagged then
    return { group = OLAP, rule = "querybook", reason = "the source is the Python client" }
  end

  if matches(source, "^zeppelin%-.+") then
    return { group = OLAP, rule = "zeppelin", reason = "the source is a Zeppelin note" }
  end

  return nil
end
