case "an experiment" {
  headers = { ["X-Trino-Source"] = "experiment" },
  expect = {
    cluster = "olap-blue",
    set_session = { query_max_run_time = "10m" },
    set_source = "experiment via warren",
  },
}

case "all else" {
  headers = { ["X-Trino-Source"] = "trino-cli" },
  expect = { group = default_group },
}
