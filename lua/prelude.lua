-- The prelude: what every rules file can call. It is part of the program; do not edit it here.
-- `groups` is a set of the configured groups: `if groups.olap then … end`.

--- True if `text` (may be nil) begins with `prefix`, taken literally.
function starts_with(text: string?, prefix: string): boolean
  return text ~= nil and string.sub(text, 1, #prefix) == prefix
end

--- True if `text` (may be nil) matches a Lua pattern. In a pattern, `-` is written `%-`.
function matches(text: string?, pattern: string): boolean
  return text ~= nil and string.find(text, pattern) ~= nil
end

--- True if `text` (may be nil) is one of the following strings.
function one_of(text: string?, ...: string): boolean
  for i = 1, select("#", ...) do
    if text == (select(i, ...)) then
      return true
    end
  end
  return false
end

--- The group that the client asks for by `X-Trino-Routing-Group`, or nil if it asks for none that
--- exists. With `routing_group_header = true` it is asked before `route`.
function route_by_header(request)
  local wanted = request:header("X-Trino-Routing-Group")
  if wanted ~= nil and groups[wanted] then
    return {
      group = wanted,
      rule = "routing-group-header",
      reason = "the client asked for it by X-Trino-Routing-Group",
    }
  end
  return nil
end

--- True for about `percent` of a hundred texts (users, sources …), and for one text always the same:
--- its bytes decide, not chance. False for nil.
function in_share(text: string?, percent: number): boolean
  if text == nil then
    return false
  end
  local hash = 2463534242
  for i = 1, math.min(#text, 256) do
    hash = bit32.bxor(hash, string.byte(text, i))
    hash = bit32.bxor(hash, bit32.lshift(hash, 13))
    hash = bit32.bxor(hash, bit32.rshift(hash, 17))
    hash = bit32.bxor(hash, bit32.lshift(hash, 5))
  end
  return hash % 10000 < percent * 100
end
