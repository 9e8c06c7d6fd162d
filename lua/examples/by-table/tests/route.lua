local HIVE = { ["X-Trino-Catalog"] = "hive", ["X-Trino-Schema"] = "finance" }

case "a read of the ledger" {
  headers = HIVE,
  query = "SELECT * FROM ledger",
  expect = { group = default_group },
}

case "a write to the ledger, whose name the session makes whole" {
  headers = HIVE,
  query = "INSERT INTO ledger SELECT 1",
  expect = { reject = "hive.finance.ledger is written by the nightly job alone" },
}

case "a join with iceberg" {
  headers = HIVE,
  query = "SELECT * FROM ledger JOIN iceberg.web.hits USING (id)",
  expect = { group = "olap", rule = "iceberg" },
}
