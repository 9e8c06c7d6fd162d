//! No value passes from one request to the next, whatever a script tries.

use expect_test::expect;

use super::*;

/// Ways to keep what the request in hand said: at the top level, and in `route`. `recall` is the
/// expression that a later request would read it with.
const WAYS: &[(&str, &str, &str, &str)] = &[
    ("a local of the file", "local last", "last = said", "last"),
    ("a compound assignment", "local last = ''", "last ..= said", "last"),
    ("a table in a local", "local seen = {}", "seen.last = said", "seen.last"),
    ("a table in a table in a local", "local seen = { { {} } }", "seen[1][1][1] = said", "seen[1][1][1]"),
    ("a global", "last = ''", "last = said", "last"),
    ("a table in a global", "seen = {}", "seen.last = said", "seen.last"),
    ("rawset", "local seen = {}", "rawset(seen, 'last', said)", "seen.last"),
    ("table.insert", "local seen = {}", "table.insert(seen, said)", "seen[1]"),
    ("table.remove", "local seen = { 'secret' }", "table.remove(seen)", "seen[1] == nil and 'secret'"),
    ("table.sort", "local seen = { 2, 1 }", "table.sort(seen)", "seen[1] == 1 and 'secret'"),
    ("a local of a helper's maker",
        "local function maker() local last return function(new) if new then last = new end return last end end
        local keep = maker()",
        "keep(said)", "keep()"),
    ("two makers deep",
        "local function maker() local last return function() return function(new) last = new or last return last end end end
        local keep = maker()",
        "keep()(said)", "keep()()"),
    ("a maker in a table",
        "local function maker() local last return { set = function(new) last = new end, get = function() return last end } end
        local keep = maker()",
        "keep.set(said)", "keep.get()"),
    ("a table of a maker's",
        "local function maker() local seen = {} return function(new) seen.last = new or seen.last return seen.last end end
        local keep = maker()",
        "keep(said)", "keep()"),
    ("a helper that assigns to a local of the file",
        "local last
        local function keep(new) last = new end", "keep(said)", "last"),
    ("a function that is defined again",
        "local recall = function() end
        local function keep(new) recall = function() return new end end", "keep(said)", "recall()"),
    ("function name() of a local", "local recall = function() end",
        "function recall() return said end", "recall()"),
    ("a metatable", "local seen = setmetatable({}, {})", "getmetatable(seen).last = said",
        "getmetatable(seen).last"),
    ("a new metatable", "local seen = {}", "setmetatable(seen, { last = said })",
        "(getmetatable(seen) or {}).last"),
    ("__index", "local last = setmetatable({}, { __index = {} })",
        "getmetatable(last).__index.x = said", "last.x"),
    ("__newindex", "local store = {}
        local seen = setmetatable({}, { __newindex = function(_, key, value) store[key] = value end })",
        "seen.last = said", "store.last"),
    ("__call with a local of the file", "local last
        local seen = setmetatable({}, { __call = function(_, new) last = new end })",
        "seen(said)", "last"),
    ("a table as a key", "local seen = { [{}] = 1 }", "next(seen).last = said", "next(seen).last"),
    ("the metatable of strings", "", "getmetatable('').last = said", "getmetatable('').last"),
    ("the library of strings", "", "string.last = said", "string.last"),
    ("the prelude", "", "groups.last = said", "groups.last"),
    ("the request", "", "request.last = said", "request.last"),
    ("the tags of the request", "", "request.client_tags.last = said",
        "(request.client_tags or {}).last"),
    ("the global table", "", "rawset(_G, 'last', said)", "_G.last"),
    ("a protected call", "local last", "pcall(function() last = said end)", "last"),
    ("a function for gsub", "local last", "said:gsub('.+', function(new) last = new end)", "last"),
    ("a comparison", "local last",
        "table.sort({ 1, 2 }, function(a, b) last = said return a < b end)", "last"),
    ("an iterator", "local last
        local function each() return function(_, n) last = n return nil end end",
        "for _ in each(), nil, said do end", "last"),
    ("variadic arguments", "local seen = table.pack()", "seen[1] = said", "seen[1]"),
    ("an iterator of string.gmatch", "local each = string.gmatch('a secret', '%a+')", "each()", "each()"),
    ("a table that the collector empties", "local seen = setmetatable({ {} }, { __mode = 'v' })",
        "local _ = seen", "seen[1] == nil and 'secret'"),
];

#[test]
fn no_way_carries_a_value_to_the_next_request() {
    let secret = headers(&[("X-Trino-Source", "secret"), ("X-Trino-Client-Tags", "a")]);
    let (mut refused, mut stopped) = (0, 0);
    for (name, top, keep, recall) in WAYS {
        let script = format!(
            "{top}\nfunction route(request)\nlocal said = request.source\n\
             if said == 'secret' then\n{keep}\nelse\n\
             local ok, found = pcall(function() return {recall} end)\n\
             return {{ reason = 'found ' .. tostring(ok and found) }}\nend\nend"
        );
        let Ok(rules) = RuleSet::compile(script.as_bytes(), &settings(), &groups()) else {
            refused += 1;
            continue;
        };
        let rules = Arc::new(rules);
        for _ in 0..2 {
            let decision = ask(&rules, &secret);
            stopped += u32::from(decision.error.is_some());
            // On a busy machine a call may be ended by the clock; then it said nothing.
            let later = std::iter::repeat_with(|| shown(&ask(&rules, &headers(&[]))))
                .find(|later| !later.contains("timeout:"))
                .unwrap();
            assert!(!later.contains("secret") && later.contains("found"), "{name}: {later}");
        }
    }
    // Nothing of this passes in silence: it is refused when it is loaded, or an error of the rule.
    assert_eq!((refused, stopped), (15, 2 * 21), "of {}", WAYS.len());
}

#[test]
fn what_a_function_keeps_is_told_with_its_line() {
    check_load(
        "local n = 0\nfunction route()\n  n += 1\nend",
        expect![
            "route.lua:3: `n` would be kept from one request to the next, expected that no function assigns to a variable outside of itself"
        ],
    );
    check_load(
        "local function maker()\n  local n = 0\n  return function()\n    n = n + 1\n    return n\n  end\nend\n\
         local count = maker()\nfunction route()\n  count()\nend",
        expect![
            "route.lua:4: `n` would be kept from one request to the next, expected that no function assigns to a variable outside of itself"
        ],
    );
    check_load(
        "function route(r)\n  return reqest.source\nend",
        expect![
            "route.lua:2: there is no global `reqest`, expected one that the file defines or that rules have"
        ],
    );
    check_load(
        "function route(r)\n  return os.time() > 0 and 'bi'\nend",
        expect![
            "route.lua:2: there is no global `os`, expected one that the file defines or that rules have"
        ],
    );
}

#[test]
fn what_changes_without_being_written_to_is_refused() {
    for kept in ["local each = %", "local kept = { { each = % } } local each = kept[1].each"] {
        let kept = kept.replace('%', "string.gmatch('a b c d', '%a')");
        let script = format!(
            "{kept}\nfunction route(r)\n  if r.source == 'secret' then each() return 'bi' end\n  \
             if r.source == 'peek' then return {{ reason = each() or 'end' }} end\nend"
        );
        check_load(
            &script,
            expect![
                "route.lua: an iterator of string.gmatch would be kept from one request to the next, expected that functions make it where they need it"
            ],
        );
    }
    check_load(
        "local seen = setmetatable({ {} }, { __mode = 'v' })\n\
         function route(r) return r.source == 'peek' and seen[1] == nil and 'olap' or 'bi' end",
        expect![
            "route.lua: a table whose metatable has `__mode` would be kept from one request to the next, expected that functions make it where they need it"
        ],
    );
    check_load(
        "local WORDS = {} for word in string.gmatch('a b', '%a') do WORDS[word] = true end\n\
         function route(r) return WORDS[r.source] and 'olap' or 'bi' end",
        expect!["ok"],
    );
}

#[test]
fn what_a_call_makes_for_itself_it_may_change() {
    let script = "local LIMITS = { olap = 2 }
        local function counter()
          local n = 0
          return function() n = n + 1 return n end
        end
        function route(request)
          local count, words = counter(), {}
          string.gsub(request.source or '', '%a+', function(word)
            words[#words + 1] = word
            count()
          end)
          return #words >= LIMITS.olap and count() == #words + 1 and 'olap' or 'bi'
        end";
    let rules = compiled(script);
    for _ in 0..3 {
        let source = headers(&[("X-Trino-Source", "one two three")]);
        assert_eq!(shown(&ask(&rules, &source)), "olap");
        assert_eq!(shown(&ask(&rules, &headers(&[("X-Trino-Source", "one")]))), "bi");
    }
}
