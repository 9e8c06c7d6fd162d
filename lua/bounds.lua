-- Bounds for functions of the language that work long at one go: a call can be ended before and after
-- them, not within. It is part of the program; do not edit it here.
-- Each bound aims at half a millisecond (src/route/tests/attacks.rs measures). What is refused is told
-- with the bound.

-- Bytes that are walked over once.
local TEXT = 262144
-- Bytes that are decoded as UTF-8.
local DECODED = 131072
-- Bytes that are cut into pieces, and bytes of what lies between them.
local SPLIT, SEPARATOR = 32768, 64
-- Bytes of a pattern, and bytes of a text times the parts of the pattern's widest set.
local PATTERN, SPAN = 1024, 262144
-- Bytes in which a plain text is looked for at one go.
local PIECE = 8192
-- Bytes that `string.rep` makes, and bytes of a form or a replacement.
local MADE = 65536
-- What `string.format` takes beside its form.
local FORMATTED = 64
-- Elements that are joined or unpacked, looked through, moved, sorted.
local JOINED, SOUGHT, MOVED, SORTED = 4096, 8192, 16384, 1000
-- Bytes of a text that is taken for a number: all of them are read.
local NUMBER = 4096

local byte, find, format, gmatch, gsub = string.byte, string.find, string.format, string.gmatch, string.gsub
local match, rep, split, sub = string.match, string.rep, string.split, string.sub
local concat, insert, remove, seek, sort = table.concat, table.insert, table.remove, table.find, table.sort
local pack, spread, number, kind, length, count = table.pack, table.unpack, tonumber, type, rawlen, select
local text_of, type_of = tostring, typeof
local max = math.max

-- These refuse; who calls them has looked already whether they may have to, because a call costs more
-- than a look.
local function bounded(name, text, most)
  if kind(text) == "string" and #text > most then
    error(name .. " takes at most " .. most .. " bytes, got " .. #text, 3)
  end
end

local function short(name, list, most)
  if kind(list) == "table" and length(list) > most then
    error(name .. " takes at most " .. most .. " elements, got " .. length(list), 3)
  end
end

-- Functions that walk over their first argument; the others are numbers.
local function walking(library, name, told, most)
  local walk = library[name]
  library[name] = function(text, first, last)
    if (kind(text) == "string" and #text > most) or kind(first) == "string" or kind(last) == "string" then
      bounded(told, text, most)
      bounded(told, first, NUMBER)
      bounded(told, last, NUMBER)
    end
    return walk(text, first, last)
  end
end

walking(string, "byte", "string.byte", 1 / 0)
walking(string, "lower", "string.lower", TEXT)
walking(string, "reverse", "string.reverse", TEXT)
walking(string, "sub", "string.sub", 1 / 0)
walking(string, "upper", "string.upper", TEXT)
walking(utf8, "codepoint", "utf8.codepoint", DECODED)
walking(utf8, "codes", "utf8.codes", DECODED)
walking(utf8, "len", "utf8.len", DECODED)
walking(utf8, "offset", "utf8.offset", DECODED)

-- Functions that take numbers. The compiler calls those of `math` and `bit32` in a quick way where
-- all of them are numbers; only what is left comes here.
local function calculating(library, name, told)
  local calculate = library[name]
  library[name] = function(...)
    for _, value in { ... } do
      bounded(told, value, NUMBER)
    end
    return calculate(...)
  end
end

for prefix, library in { math = math, bit32 = bit32 } do
  for name, value in library do
    if kind(value) == "function" then
      calculating(library, name, prefix .. "." .. name)
    end
  end
end
calculating(string, "char", "string.char")
calculating(utf8, "char", "utf8.char")

-- How many bytes the longest set of a pattern has, read as the matcher reads it.
local function widest(pattern)
  local most, at = 1, 1
  while at <= #pattern do
    local letter = byte(pattern, at)
    if letter == 37 then -- %
      at += if byte(pattern, at + 1) == 98 then 4 else 2 -- %b takes two letters more
    elseif letter == 91 then -- [
      local last = if byte(pattern, at + 1) == 94 then at + 2 else at + 1 -- ^
      repeat
        last += if byte(pattern, last) == 37 then 2 else 1
      until last > #pattern or byte(pattern, last) == 93 -- ]
      most = max(most, last - at)
      at = last + 1
    else
      at += 1
    end
  end
  return most
end

local function fits(name, text, pattern, init)
  bounded(name, init, NUMBER)
  if kind(text) ~= "string" or kind(pattern) ~= "string" then
    return
  end
  if #pattern > PATTERN then
    error(name .. " takes a pattern of at most " .. PATTERN .. " bytes, got " .. #pattern, 3)
  end
  if #text * #pattern > SPAN then
    local most = SPAN // widest(pattern)
    if #text > most then
      error(name .. " takes at most " .. most .. " bytes with this pattern, got " .. #text, 3)
    end
  end
end

-- A plain text in a long one, piece by piece: the search of the language takes the product of both.
local function find_plain(text, wanted, init)
  local from = number(init or 1) or 1
  if from < 0 then
    from += #text + 1
  end
  from = max(from, 1)
  repeat
    local first, last = find(sub(text, from, from + PIECE + #wanted - 2), wanted, 1, true)
    if first then
      return from + first - 1, from + last - 1
    end
    from += PIECE
  until from > #text
  return nil
end

function string.find(text, pattern, init, plain)
  if kind(init) == "string" then
    bounded("string.find", init, NUMBER)
    init = number(init) or init
  end
  if kind(text) ~= "string" or kind(pattern) ~= "string" then
    bounded("string.find", pattern, PATTERN)
  elseif #text > PIECE and #pattern <= PATTERN then
    if plain or not find(pattern, "[%^%$%*%+%?%.%(%[%%%-]") then
      return find_plain(text, pattern, init)
    end
    fits("string.find", text, pattern, init)
  elseif #pattern > PATTERN or (#text * #pattern > SPAN and not plain) then
    fits("string.find", text, pattern, init)
  end
  return find(text, pattern, init, plain)
end

function string.match(text, pattern, init)
  if kind(init) == "string" or (kind(text) == "string" and kind(pattern) == "string"
    and (#pattern > PATTERN or #text * #pattern > SPAN)) then
    fits("string.match", text, pattern, init)
  end
  return match(text, pattern, init)
end

function string.gmatch(text, pattern)
  if kind(text) == "string" and kind(pattern) == "string"
    and (#pattern > PATTERN or #text * #pattern > SPAN) then
    fits("string.gmatch", text, pattern)
  end
  return gmatch(text, pattern)
end

function string.gsub(text, pattern, replacement, most)
  fits("string.gsub", text, pattern, most)
  bounded("the replacement of string.gsub", replacement, MADE)
  return gsub(text, pattern, replacement, most)
end

function string.rep(text, times)
  bounded("string.rep", times, NUMBER)
  local times_told = number(times)
  if kind(text) == "string" and times_told and #text * times_told > MADE then
    error("string.rep would make more than " .. MADE .. " bytes", 2)
  end
  return rep(text, times)
end

function string.split(text, separator)
  bounded("string.split", text, SPLIT)
  bounded("the separator of string.split", separator, SEPARATOR)
  return split(text, separator)
end

-- Whether the language makes its text of where it lies in memory, unless it has `__tostring`.
local function has_address(value)
  local sort_of = kind(value)
  return sort_of ~= "string" and sort_of ~= "number" and sort_of ~= "boolean" and sort_of ~= "nil"
end

-- The same request gets the same answer, so of what has an address the type alone is told.
function tostring(value)
  local text = text_of(value)
  if has_address(value) then
    local name = type_of(value)
    if sub(text, 1, #name + 4) == name .. ": 0x" then
      return name
    end
  end
  return text
end
local told = tostring

local function without_addresses(...)
  local values = pack(...)
  for index = 1, values.n do
    if has_address(values[index]) then
      values[index] = told(values[index])
    end
  end
  return spread(values, 1, values.n)
end

function string.format(form, ...)
  bounded("string.format", form, MADE)
  if count("#", ...) > FORMATTED then
    error("string.format takes at most " .. FORMATTED .. " values, got " .. count("#", ...), 2)
  end
  local size, has_addresses = 0, false
  for _, value in { ... } do
    if kind(value) == "string" then
      size += #value
    elseif has_address(value) then
      has_addresses = true
    end
  end
  if size > TEXT then
    error("string.format takes texts of at most " .. TEXT .. " bytes, got " .. size, 2)
  end
  -- `%*` alone takes values of all types. Interpolation calls it.
  if has_addresses and kind(form) == "string" and find(form, "%*", 1, true) then
    return format(form, without_addresses(...))
  end
  return format(form, ...)
end

-- A part of a list; both ends may be left out.
local function ranged(name, list, first, last)
  bounded(name, first, NUMBER)
  bounded(name, last, NUMBER)
  if kind(list) == "table" then
    local from, to = number(first or 1), number(last or length(list))
    if from and to and to - from >= JOINED then
      error(name .. " takes at most " .. JOINED .. " elements, got " .. to - from + 1, 3)
    end
  end
end

function table.concat(list, separator, first, last)
  if first ~= nil or last ~= nil or (kind(list) == "table" and length(list) > JOINED) then
    ranged("table.concat", list, first, last)
  end
  return concat(list, separator, first, last)
end

local function unpack_some(list, first, last)
  if first ~= nil or last ~= nil or (kind(list) == "table" and length(list) > JOINED) then
    ranged("unpack", list, first, last)
  end
  return spread(list, first, last)
end
table.unpack, unpack = unpack_some, unpack_some

function table.insert(list, ...)
  if count("#", ...) > 1 then
    bounded("table.insert", (...), NUMBER)
    short("table.insert within a list", list, MOVED)
  end
  return insert(list, ...)
end

function table.remove(list, place)
  if place ~= nil then
    bounded("table.remove", place, NUMBER)
    short("table.remove within a list", list, MOVED)
    return remove(list, place)
  end
  return remove(list)
end

function table.find(list, value, first)
  if first ~= nil or (kind(list) == "table" and length(list) > SOUGHT) then
    bounded("table.find", first, NUMBER)
    short("table.find", list, SOUGHT)
  end
  return seek(list, value, first)
end

-- Compares in this language, so that a call can be ended between two comparisons.
local function less(left, right)
  return left < right
end

function table.sort(list, before)
  short("table.sort", list, SORTED)
  return sort(list, if before == nil then less else before)
end

-- A text that is too long for a number is none.
function tonumber(text, base)
  if kind(text) == "string" and #text > NUMBER then
    return nil
  end
  return number(text, base)
end
