-- What the shipped rules must do. Run with `warren rules test`, and before they come into force.

-- Where a query goes by a rule: to the group, if the settings have it.
local function to(group, rule)
  return { group = groups[group] and group or default_group, rule = rule }
end

case "superset goes to bi" {
  headers = { ["X-Trino-Source"] = "Apache Superset" },
  expect = to("bi", "superset"),
}

case "superset with tags is left to the default group" {
  headers = { ["X-Trino-Source"] = "Apache Superset", ["X-Trino-Client-Tags"] = "a" },
  expect = { group = default_group },
}

case "querybook goes to olap" {
  headers = { ["X-Trino-Source"] = "trino-python-client" },
  expect = to("olap", "querybook"),
}

case "an empty header of tags counts as tags" {
  headers = { ["X-Trino-Source"] = "trino-python-client", ["X-Trino-Client-Tags"] = "" },
  expect = { group = default_group },
}

case "a zeppelin note goes to olap, with tags and without" {
  headers = { ["X-Trino-Source"] = "zeppelin-note-7", ["X-Trino-Client-Tags"] = "a" },
  expect = to("olap", "zeppelin"),
}

case "a zeppelin without a note does not" {
  headers = { ["X-Trino-Source"] = "zeppelin-" },
  expect = { group = default_group },
}

case "all else goes to the default group" {
  headers = { ["X-Trino-Source"] = "trino-cli" },
  expect = { group = default_group },
}
