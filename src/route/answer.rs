//! What a script answered, in plain values: Lua ends here.

use mlua::{Table, Value};

use super::changes::{ENTRIES_MAX, VALUE_MAX};
use super::verdict::{Answer, Given, Items};

/// The most fields of an answer that are looked at; more of them are unknown ones anyway.
const FIELDS_MAX: usize = 16;
/// The most bytes of a text that are looked at: one more than any may have, so that one that is too long
/// is seen as too long.
const TEXT_MAX: usize = VALUE_MAX + 1;

/// The answer of a call.
pub(super) fn answer(value: Value) -> mlua::Result<Answer> {
    Ok(match value {
        Value::Nil => Answer::Nil,
        Value::Table(table) => Answer::Fields(fields(&table)?),
        other => Answer::One(given(&other)),
    })
}

fn fields(table: &Table) -> mlua::Result<Vec<(Given, Given)>> {
    let pairs = table.pairs::<Value, Value>().take(FIELDS_MAX);
    let mut fields = Vec::new();
    for pair in pairs {
        let (key, value) = pair?;
        let key = given(&key);
        let value = match &value {
            Value::Table(table) => Given::Table(Box::new(items(table)?)),
            // It is sent on, not only shown.
            Value::String(_) if matches!(&key, Given::Text(name) if name == "set_source") => {
                item(&value)
            }
            other => given(other),
        };
        fields.push((key, value));
    }
    Ok(fields)
}

/// What stands in a table: one more than may be in it, so that too many are seen as too many.
pub(super) fn items(table: &Table) -> mlua::Result<Items> {
    let length = table.raw_len().min(ENTRIES_MAX + 1);
    let list = (1..=length).map(|index| Ok(item(&table.raw_get::<Value>(index)?)));
    let list = list.collect::<mlua::Result<_>>()?;
    let mut named = Vec::new();
    for pair in table.pairs::<Value, Value>().take(2 * (ENTRIES_MAX + 1)) {
        let (key, value) = pair?;
        let listed = key.as_integer().is_some_and(|key| {
            usize::try_from(key).is_ok_and(|key| (1..=table.raw_len()).contains(&key))
        });
        if !listed && named.len() <= ENTRIES_MAX {
            named.push((given(&key), item(&value)));
        }
    }
    Ok(Items { list, named })
}

/// A value in a table of an answer; numbers and truth values are taken as Lua would write them.
fn item(value: &Value) -> Given {
    match value {
        Value::String(text) => {
            let bytes = text.as_bytes();
            let kept = &bytes[..bytes.len().min(TEXT_MAX)];
            match str::from_utf8(kept) {
                Ok(text) => Given::Text(text.to_owned()),
                // Cut within a character, or no text.
                Err(_) if kept.len() == TEXT_MAX => Given::Other("string that is too long"),
                Err(_) => Given::Other("string that is not UTF-8"),
            }
        }
        Value::Boolean(truth) => Given::Text(truth.to_string()),
        Value::Integer(number) => Given::Text(number.to_string()),
        Value::Number(number) if number.is_finite() => Given::Text(number.to_string()),
        other => Given::Other(kind_of(other)),
    }
}

/// A value by itself, or a name; bytes of a text that are not UTF-8 are shown as such.
pub(super) fn given(value: &Value) -> Given {
    match value {
        Value::String(text) => {
            let bytes = text.as_bytes();
            let kept = &bytes[..bytes.len().min(TEXT_MAX)];
            Given::Text(String::from_utf8_lossy(kept).into_owned())
        }
        Value::Integer(number) => Given::Whole(*number),
        other => Given::Other(kind_of(other)),
    }
}

/// The type of a value, as Lua names it.
pub(super) fn kind_of(value: &Value) -> &'static str {
    if value.is_integer() { "number" } else { value.type_name() }
}
