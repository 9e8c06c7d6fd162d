-- These two were found by trying: names are in the share or not, for ever.

case "a user in the share" {
  user = "carol",
  expect = { cluster = "olap-green", rule = "canary" },
}

case "the same while the new cluster is away" {
  user = "carol",
  cluster = { ["olap-green"] = { ready = false } },
  expect = { group = default_group },
}

case "a user outside of the share" {
  user = "alice",
  expect = { group = default_group },
}
