-- Pinning: queries of one source run on one cluster and nowhere else, with a bound on their time, so that
-- an experiment harms nobody.

function route(request)
  if request.source == "experiment" then
    return {
      cluster = "olap-blue",
      rule = "experiment",
      set_session = { query_max_run_time = "10m" },
      set_source = "experiment via warren",
    }
  end
  return nil
end
