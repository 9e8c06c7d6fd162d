-- Where a query goes, in the trial set-up of `make run`: saved changes count at once.

function route(request)
  -- if request.source == "nightly" then return { group = "bi", rule = "nightly", reason = "jobs of the night" } end
  return "bi"
end
