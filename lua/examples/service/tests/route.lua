local ROUTER = "http://127.0.0.1:9000/route"

case "the router says the group" {
  http = { [ROUTER] = { json = { group = "olap" } } },
  expect = { group = "olap", rule = "router" },
}

case "the router is not asked about metadata" {
  http = { [ROUTER] = { json = { group = "olap" } } },
  query = "SHOW TABLES FROM hive.web",
  expect = { group = default_group },
}

case "the router does not answer" {
  expect = { group = default_group, rule = "router-away" },
}

case "the router fails" {
  http = { [ROUTER] = { status = 503 } },
  expect = { group = default_group, rule = "router-away" },
}

case "the router names a group that is not there" {
  http = { [ROUTER] = { json = { group = "olpa" } } },
  expect = { group = default_group, rule = "router-odd" },
}

case "the router does not know the user" {
  http = { [ROUTER] = { status = 404, body = "no such user" } },
  expect = { group = default_group, reason = "the router answered 404" },
}
