case "the first tag that is known decides" {
  headers = { ["X-Trino-Client-Tags"] = "night, adhoc, dashboard" },
  expect = { group = "olap", rule = "tag-adhoc" },
}

case "no known tag" {
  headers = { ["X-Trino-Client-Tags"] = "night" },
  expect = { group = default_group },
}
