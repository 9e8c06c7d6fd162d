-- These names were found by trying: a name is in the share or not, for ever.

case "a user in the share" {
  user = "carol",
  expect = { cluster = "olap-green", rule = "canary" },
}

case "the same while the new cluster is away" {
  user = "carol",
  cluster = { ["olap-green"] = { ready = false } },
  expect = { group = default_group },
}

case "the same while the new cluster is full" {
  user = "carol",
  cluster = { ["olap-green"] = { has_room = false } },
  expect = { group = default_group },
}

case "a user outside of the share" {
  user = "alice",
  expect = { group = default_group },
}
