-- Pinning: queries of one source run on one cluster and nowhere else, with a bound on their time, so that
-- an experiment harms nobody.
--
-- Where blue and green take turns, the cluster that is named drains at the next roll. From then on these queries
-- wait up to `timeouts.submit` and fail: change the name with each roll, or name a group instead.

function route(request: Request): Answer?
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
