local REPORT = { ["X-Trino-Client-Tags"] = "report" }

case "a report in the morning" {
  headers = REPORT, hour = 8, weekday = 1,
  expect = { group = "olap" },
}

case "a report in the evening" {
  headers = REPORT, hour = 18, weekday = 1,
  expect = { group = "bi" },
}

case "a report on Saturday" {
  headers = REPORT, hour = 12, weekday = 6,
  expect = { group = "bi" },
}
