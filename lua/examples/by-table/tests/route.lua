local HIVE = { ["X-Trino-Catalog"] = "hive", ["X-Trino-Schema"] = "finance" }
local REFUSED = "hive.finance.ledger is written by the nightly job alone"

case "a read of the ledger" {
  headers = HIVE,
  query = "SELECT * FROM ledger",
  expect = { group = default_group },
}

case "a write to the ledger, whose name the session makes whole" {
  headers = HIVE,
  query = "INSERT INTO ledger SELECT 1",
  expect = { reject = REFUSED, rule = "ledger" },
}

case "the nightly job" {
  headers = { ["X-Trino-Source"] = "nightly-ledger" },
  query = "INSERT INTO hive.finance.ledger SELECT 1",
  expect = { group = default_group },
}

case "a write elsewhere that reads the ledger is refused too" {
  query = "INSERT INTO hive.finance.report SELECT * FROM hive.finance.ledger",
  expect = { reject = REFUSED },
}

case "a join with iceberg" {
  headers = HIVE,
  query = "SELECT * FROM ledger JOIN iceberg.web.hits USING (id)",
  expect = { group = "olap", rule = "iceberg" },
}
