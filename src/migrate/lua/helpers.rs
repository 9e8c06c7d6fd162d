//! Functions that translated rules call, each written only where one does.

/// A function of Lua.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::migrate) enum Helper {
    Known,
    Has,
    Holds,
    IsEmpty,
    Number,
    Word,
    Begins,
    Ends,
    IndexOf,
    MatchesOne,
    Add,
    SchemaNames,
    Catalogs,
    /// `route` asks it once, and keeps the answer as `user`.
    User,
}

/// The place of the name of a token's field in [`Helper::User`].
pub(in crate::migrate) const USER: &str = "@FIELD@";

impl Helper {
    /// Its text.
    pub(in crate::migrate) fn lua(self) -> &'static str {
        match self {
            Self::Known => KNOWN,
            Self::Has => HAS,
            Self::Holds => HOLDS,
            Self::IsEmpty => IS_EMPTY,
            Self::Number => NUMBER,
            Self::Word => WORD,
            Self::Begins => BEGINS,
            Self::Ends => ENDS,
            Self::IndexOf => INDEX_OF,
            Self::MatchesOne => MATCHES_ONE,
            Self::Add => ADD,
            Self::SchemaNames => SCHEMA_NAMES,
            Self::Catalogs => CATALOGS,
            Self::User => OF_USER,
        }
    }
}

const KNOWN: &str = "\
-- The value of which a method is called; Java has none of null.
local function known(value)
  if value == nil then
    error(\"a method is called of a value that is null\", 2)
  end
  return value
end
";
const HAS: &str = "\
-- `a contains b` of MVEL: false if `a` is null.
local function has(value, part)
  if type(value) == \"string\" then
    return string.find(value, tostring(part), 1, true) ~= nil
  end
  return value ~= nil and table.find(value, part) ~= nil
end
";
const HOLDS: &str = "\
-- `a.contains(b)` of Java, of a text or a list.
local function holds(value, part)
  if type(value) == \"string\" then
    return string.find(value, part, 1, true) ~= nil
  end
  if value == nil then
    error(\"`contains` is called of a value that is null\", 2)
  end
  return table.find(value, part) ~= nil
end
";
const IS_EMPTY: &str = "\
-- `a == empty` of MVEL.
local function is_empty(value)
  if type(value) == \"string\" then
    return string.find(value, \"%S\") == nil
  end
  return not value or value == 0 or (type(value) == \"table\" and next(value) == nil)
end
";
const NUMBER: &str = "\
-- A text as a number; what is none is neither equal to a number nor less nor more.
local function number(value)
  return tonumber(value) or 0 / 0
end
";
const WORD: &str = "\
-- A value as Java joins it to a text.
local function word(value)
  return if value == nil then \"null\" else tostring(value)
end
";
const BEGINS: &str = "\
local function begins(text, part)
  return string.sub(text, 1, #part) == part
end
";
const ENDS: &str = "\
local function ends(text, part)
  return #part == 0 or string.sub(text, -#part) == part
end
";
const INDEX_OF: &str = "\
-- Counted from 0; -1 if it is not there.
local function index_of(text, part)
  return (string.find(text, part, 1, true) or 0) - 1
end
";
const MATCHES_ONE: &str = "\
-- Whether a text matches one of the patterns.
local function matches_one(text, ...)
  for i = 1, select(\"#\", ...) do
    if string.find(text, (select(i, ...))) then
      return true
    end
  end
  return false
end
";
const ADD: &str = "\
-- Adds to a set, or to a list in which it is not yet.
local function add(list, value)
  if not table.find(list, value) then
    table.insert(list, value)
  end
end
";
const SCHEMA_NAMES: &str = "\
-- The schemas of a statement without their catalogs.
local function schema_names(query)
  local names = {}
  for _, schema in ipairs(query.schemas) do
    table.insert(names, string.match(schema, \"^[^.]*%.(.*)$\") or schema)
  end
  return names
end
";
const CATALOGS: &str = "\
-- The catalogs of a statement. Of one that names a catalog alone, the Java gateway tells it in the
-- letters of the statement: a rule for `system` does not fire for `SHOW SCHEMAS FROM SYSTEM`.
local function catalogs(request)
  local query = request.query
  if not one_of(query.type, \"ShowSchemas\", \"CreateCatalog\", \"DropCatalog\") then
    return query.catalogs
  end
  local names = {}
  for _, name in ipairs(query.catalogs) do
    if name == request.catalog or string.find(query.text, name, 1, true) then
      table.insert(names, name)
    end
  end
  return names
end
";
/// Base64 in both alphabets, at most 4 KiB of it.
const OF_USER: &str = "\
-- Base64, of texts and of tokens.
local DIGITS = {}
for i = 1, 64 do
  local digits = \"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\"
  DIGITS[string.sub(digits, i, i)] = i - 1
end
DIGITS[\"-\"] = 62
DIGITS[\"_\"] = 63

local function decoded(text)
  local bytes, bits, count = {}, 0, 0
  for digit in string.gmatch(string.sub(text, 1, 4096), \"[%w%+/%-_]\") do
    bits = bits * 64 + DIGITS[digit]
    count = count + 6
    if count >= 8 then
      count = count - 8
      local unit = 2 ^ count
      table.insert(bytes, string.char(math.floor(bits / unit)))
      bits = bits % unit
    end
  end
  return table.concat(bytes)
end

-- Who the user is: whom Warren knows or the client names, else the name in its credentials. What
-- these say is believed as the Java gateway believes it: not at all verified.
local function user_of(request)
  local user, credentials = request.user, request:header(\"Authorization\")
  if user ~= nil or credentials == nil then
    return user
  end
  local basic = string.match(credentials, \"^[Bb]asic%s+(%S+)\")
  if basic ~= nil then
    return string.match(decoded(basic), \"^[^:]*\")
  end
  local claims = string.match(credentials, \"^[Bb]earer%s+[^.%s]+%.([^.%s]+)%.[^.%s]*$\")
  return claims and string.match(decoded(claims), '\"@FIELD@\"%s*:%s*\"([^\"\\\\]*)\"')
end
";
