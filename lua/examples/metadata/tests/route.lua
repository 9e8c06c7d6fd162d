case "what JDBC asks for tables" {
  query = "SELECT TABLE_CAT FROM system.jdbc.catalogs ORDER BY TABLE_CAT",
  expect = { group = "bi", rule = "metadata" },
}

case "SHOW" {
  query = "SHOW TABLES FROM hive.web",
  expect = { rule = "metadata" },
}

case "a report" {
  query = "SELECT count(*) FROM hive.web.hits",
  expect = { groups = { "olap", "bi" }, rule = "report" },
}
