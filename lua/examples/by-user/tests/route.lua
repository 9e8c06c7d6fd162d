case "a member of a team" {
  user = "ana",
  expect = { group = "bi", rule = "team" },
}

case "a service account" {
  user = "svc-airflow",
  expect = { group = "olap", add_client_tags = { "service" } },
}

case "one that is locked out" {
  user = "mallory",
  expect = { reject = "ask the data team for a new account" },
}

case "nobody in particular" {
  expect = { group = default_group },
}
