//! JSON of bodies: from values of a script, and to them. Both are bounded in size, number and depth.

use std::collections::BTreeMap;

use mlua::{Lua, LuaString, Table, Value};
use serde_json::Value as Json;

use super::{BODY_MAX, Unanswered, VALUES_MAX};
use crate::route::answer::kind_of;

/// How deep tables of a body may lie in each other. (An answer may be 128 deep: serde_json's bound.)
const DEPTH_MAX: usize = 16;

/// Reads the body of an answer.
pub(super) fn parsed(body: &[u8]) -> Result<Json, Unanswered> {
    let json = serde_json::from_slice(body).map_err(|error| {
        Unanswered::failed(&format!("it answered what should be JSON and is not: {error}"))
    })?;
    if count(&json) > VALUES_MAX {
        let text = format!("it answered JSON of more than {VALUES_MAX} values");
        return Err(Unanswered::failed(&text));
    }
    Ok(json)
}

fn count(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Json::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// The same for a script, read-only; null is nil.
pub(super) fn given(lua: &Lua, json: &Json) -> mlua::Result<Value> {
    let table = match json {
        Json::Null => return Ok(Value::Nil),
        Json::Bool(truth) => return Ok(Value::Boolean(*truth)),
        Json::Number(number) => return Ok(Value::Number(number.as_f64().unwrap_or(f64::NAN))),
        Json::String(text) => return lua.create_string(text).map(Value::String),
        Json::Array(items) => {
            let list = lua.create_table()?;
            for (place, item) in (1_usize..).zip(items) {
                list.raw_set(place, given(lua, item)?)?;
            }
            list
        }
        Json::Object(fields) => {
            let object = lua.create_table()?;
            for (name, value) in fields {
                object.raw_set(name.as_str(), given(lua, value)?)?;
            }
            object
        }
    };
    table.set_readonly(true);
    Ok(Value::Table(table))
}

/// Writes a table as JSON, names sorted: the order of a table is chance, and a question must be the same
/// when it is asked again. `look` says at each value whether the script may go on.
pub(super) fn written(table: &Table, look: impl Fn() -> mlua::Result<()>) -> mlua::Result<Vec<u8>> {
    let mut writer = Writer { text: Vec::new(), values: 0, look };
    writer.table(table, 0)?;
    Ok(writer.text)
}

struct Writer<L> {
    text: Vec<u8>,
    values: usize,
    look: L,
}

/// What stands in a table.
enum Entries {
    List(Vec<Value>),
    Named(BTreeMap<String, Value>),
}

impl<L: Fn() -> mlua::Result<()>> Writer<L> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        match value {
            Value::Boolean(truth) => self.text.extend_from_slice(truth.to_string().as_bytes()),
            Value::Integer(number) => self.text.extend_from_slice(number.to_string().as_bytes()),
            Value::Number(number) if number.is_finite() => {
                self.text.extend_from_slice(number.to_string().as_bytes());
            }
            Value::Number(_) => return Err(no_json("a number that is not finite")),
            Value::String(text) => self.string(text)?,
            Value::Table(table) => self.table(table, depth)?,
            other => return Err(no_json(&format!("a {} in it", kind_of(other)))),
        }
        self.fits(0)
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        if depth >= DEPTH_MAX {
            return Err(no_json(&format!("tables more than {DEPTH_MAX} deep")));
        }
        match self.entries(table)? {
            Entries::List(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.text.push(if place == 0 { b'[' } else { b',' });
                    self.value(item, depth + 1)?;
                }
                self.text.extend_from_slice(if items.is_empty() { b"[]" } else { b"]" });
            }
            Entries::Named(fields) => {
                for (place, (name, value)) in fields.iter().enumerate() {
                    self.text.push(if place == 0 { b'{' } else { b',' });
                    self.escaped(name)?;
                    self.text.push(b':');
                    self.value(value, depth + 1)?;
                }
                self.text.push(b'}');
            }
        }
        Ok(())
    }

    /// A table without names is a list, an empty one too: most that are empty are lists.
    fn entries(&mut self, table: &Table) -> mlua::Result<Entries> {
        let (mut items, mut named) = (BTreeMap::new(), BTreeMap::new());
        for pair in table.pairs::<Value, Value>() {
            (self.look)()?;
            self.values += 1;
            if self.values > VALUES_MAX {
                return Err(no_json(&format!("more than {VALUES_MAX} values")));
            }
            match pair? {
                (Value::Integer(place), value) => drop(items.insert(place, value)),
                (Value::String(name), value) => {
                    self.fits(name.as_bytes().len())?;
                    named.insert(name.to_string_lossy(), value);
                }
                (other, _) => return Err(no_json(&format!("a {} as a key", kind_of(&other)))),
            }
        }
        if !named.is_empty() && items.is_empty() {
            return Ok(Entries::Named(named));
        }
        if !named.is_empty() || !items.keys().copied().eq((1_i64..).take(items.len())) {
            return Err(no_json("a table that is neither a list without gaps nor has names alone"));
        }
        Ok(Entries::List(items.into_values().collect()))
    }

    fn string(&mut self, text: &LuaString) -> mlua::Result<()> {
        self.fits(text.as_bytes().len())?;
        self.escaped(&text.to_string_lossy())
    }

    fn escaped(&mut self, text: &str) -> mlua::Result<()> {
        serde_json::to_writer(&mut self.text, text).map_err(|error| no_json(&error.to_string()))
    }

    /// Refuses what would be too large with `more` bytes.
    fn fits(&self, more: usize) -> mlua::Result<()> {
        if self.text.len() + more > BODY_MAX {
            return Err(no_json(&format!("more than {BODY_MAX} bytes")));
        }
        Ok(())
    }
}

fn no_json(what: &str) -> mlua::Error {
    mlua::Error::RuntimeError(format!("http.post cannot send a body with {what}"))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(code: &str, expected: Expect) {
        let lua = Lua::new();
        let table: Table = lua.load(format!("return {code}")).eval().unwrap();
        let told = match written(&table, || Ok(())) {
            Ok(text) => String::from_utf8(text).unwrap(),
            Err(mlua::Error::RuntimeError(text)) => text,
            Err(other) => panic!("{other}"),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn tables_become_json() {
        check("{}", expect!["[]"]);
        check("{ 1, 'a', true, { 2.5 } }", expect![[r#"[1,"a",true,[2.5]]"#]]);
        check(
            "{ b = { x = -1 }, a = 'q\"\\n', ['c d'] = {} }",
            expect![[r#"{"a":"q\"\n","b":{"x":-1},"c d":[]}"#]],
        );
        check("{ a = nil, b = '\\255' }", expect![[r#"{"b":"�"}"#]]);
        check("{ n = 1e21, m = 0.1 }", expect![[r#"{"m":0.1,"n":1000000000000000000000}"#]]);
    }

    #[test]
    fn what_is_no_json() {
        check(
            "{ a = 1, 2 }",
            expect![
                "http.post cannot send a body with a table that is neither a list without gaps nor has names alone"
            ],
        );
        check(
            "{ [1] = 1, [3] = 3 }",
            expect![
                "http.post cannot send a body with a table that is neither a list without gaps nor has names alone"
            ],
        );
        check(
            "{ [0] = 1 }",
            expect![
                "http.post cannot send a body with a table that is neither a list without gaps nor has names alone"
            ],
        );
        check("{ [true] = 1 }", expect!["http.post cannot send a body with a boolean as a key"]);
        check(
            "{ math.huge }",
            expect!["http.post cannot send a body with a number that is not finite"],
        );
        check("{ print }", expect!["http.post cannot send a body with a function in it"]);
        check(
            "{ string.rep('x', 70000) }",
            expect!["http.post cannot send a body with more than 65536 bytes"],
        );
        check(
            "{ [string.rep('x', 70000)] = 1 }",
            expect!["http.post cannot send a body with more than 65536 bytes"],
        );
        check(
            "{ string.rep('\"', 40000) }",
            expect!["http.post cannot send a body with more than 65536 bytes"],
        );
        check(
            "(function() local t = {} for i = 1, 3000 do t[i] = 1 end return t end)()",
            expect!["http.post cannot send a body with more than 2000 values"],
        );
        check(
            "(function() local t = {} t.t = t return t end)()",
            expect!["http.post cannot send a body with tables more than 16 deep"],
        );
    }

    #[test]
    fn answers_become_tables() {
        let lua = Lua::new();
        let json = parsed(br#"{"a":[1,null,"x"],"b":{"c":true},"d":2.5,"n":null}"#).unwrap();
        lua.globals().set("it", given(&lua, &json).unwrap()).unwrap();
        let code =
            "assert(it.a[1] == 1 and it.a[2] == nil and it.a[3] == 'x' and it.b.c and it.n == nil)
            assert(it.d == 2.5 and not pcall(function() it.b.c = false end))
            return 'fine'";
        assert_eq!(lua.load(code).eval::<String>().unwrap(), "fine");
    }
}
