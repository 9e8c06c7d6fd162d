-- By the time of day: from Monday to Friday, between 8 and 18 o'clock, bi is for dashboards and reports go to
-- olap. At all other times reports go to bi. The hour is that of the gateway's time zone (`TZ`).

function route(request: Request): Answer?
  local working = request.weekday <= 5 and request.hour >= 8 and request.hour < 18
  if request:has_tag("report") then
    return { group = working and "olap" or "bi", rule = "report" }
  end
  return nil
end
