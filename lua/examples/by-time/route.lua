-- By the time of day: from Monday to Friday, between 8 and 18 o'clock, reports of the night wait for no
-- dashboard. The hour is that of the gateway's time zone (`TZ`).

function route(request)
  local working = request.weekday <= 5 and request.hour >= 8 and request.hour < 18
  if request:has_tag("report") then
    return { group = working and "olap" or "bi", rule = "report" }
  end
  return nil
end
