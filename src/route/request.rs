//! The `request` of a script, and its `request.query`: objects that are there for all requests and
//! empty between them.
//!
//! What takes long to make of a statement is made once in a call, so that no script can have it made
//! again and again at the cost of others.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{
    AnyUserData, Lua, LuaString, MetaMethod, Table, UserData, UserDataFields, UserDataMethods,
    Value,
};

use super::answer::given;
use super::facts::{Facts, OwnedFacts, Pair};
use super::sandbox::Guard;
use super::services::{Heard, Line, Post};
use super::verdict::{Given, kind_of};
use crate::sql::Analysis;

const FIELDS: &str = "catalog, client_info, client_tags, hour, language, listener, method, path, \
     query, remote_addr, resource_estimates, roles, schema, session, source, time_zone, \
     trace_token, user, user_source, weekday, header(), has_tag()";
const QUERY_FIELDS: &str = "catalogs, digest, is_metadata, is_read_only, kind, parse_error, \
     schemas, tables, text, type";

/// Fields that are the first line of a header.
const TEXTS: [(&str, &str); 7] = [
    ("catalog", "x-trino-catalog"),
    ("client_info", "x-trino-client-info"),
    ("language", "x-trino-language"),
    ("schema", "x-trino-schema"),
    ("source", "x-trino-source"),
    ("time_zone", "x-trino-time-zone"),
    ("trace_token", "x-trino-trace-token"),
];
/// Fields that are the names and values of a header.
const TABLES: [(&str, &str); 3] = [
    ("resource_estimates", "x-trino-resource-estimate"),
    ("roles", "x-trino-role"),
    ("session", "x-trino-session"),
];

/// The most client tags, and the most names of a header, that are listed: a list is made at one go.
const LISTED_MAX: usize = 1000;
/// The most tables, schemas or catalogs of a statement that are listed, for the same reason: to make all
/// three lists takes about a millisecond, which is not the script's.
const NAMED_MAX: usize = 300;
/// The longest statement whose text is handed over. Trino itself takes a million characters
/// (`query.max-length`).
const TEXT_MAX: usize = 1024 * 1024;

/// Where the facts of the request in hand lie while its call runs.
pub(super) struct Seat {
    facts: RefCell<Option<OwnedFacts>>,
    /// What was made of them for the script at some length, or why it failed; each is made once in a
    /// call.
    made: RefCell<Vec<(&'static str, mlua::Result<Value>)>>,
    line: Line,
    guard: Rc<Guard>,
}

impl Seat {
    pub(super) fn new(guard: &Rc<Guard>) -> Rc<Self> {
        let (made, line) = (RefCell::default(), Line::default());
        Rc::new(Self { facts: RefCell::new(None), made, line, guard: Rc::clone(guard) })
    }

    /// A call begins.
    pub(super) fn take(&self, facts: &Facts<'_>) {
        *self.facts.borrow_mut() = Some(OwnedFacts::new(facts));
        self.line.begin(&facts.heard);
    }

    /// It is over; gives the question that it ended for, if it did.
    pub(super) fn leave(&self) -> Option<Post> {
        *self.facts.borrow_mut() = None;
        self.made.borrow_mut().clear();
        self.line.end()
    }

    /// An error: `route` does not run, or must end.
    pub(super) fn in_route(&self, what: &str) -> mlua::Result<()> {
        self.guard.look()?;
        if self.facts.borrow().is_none() {
            return Err(mlua::Error::RuntimeError(format!("{what} only while `route` runs")));
        }
        Ok(())
    }

    /// What was heard of a question. An error: nothing was, and the call ends here.
    pub(super) fn post(&self, post: Post) -> mlua::Result<Arc<Heard>> {
        self.line.answer(&post).ok_or_else(|| self.guard.end(self.line.ask(post)))
    }

    pub(super) fn read<R>(&self, read: impl FnOnce(&OwnedFacts) -> R) -> mlua::Result<R> {
        self.guard.look()?;
        self.facts.borrow().as_ref().map(read).ok_or_else(|| {
            let message = "a request can be read only while `route` runs for it";
            mlua::Error::RuntimeError(message.to_owned())
        })
    }

    /// Reads the statement, if nobody has; the time for it is not the script's.
    fn read_query<R>(
        &self,
        lua: &Lua,
        read: impl FnOnce(&Analysis<'static>) -> R,
    ) -> mlua::Result<R> {
        self.read(|facts| {
            if facts.reading.is_unread() {
                self.guard.spare(lua, || {
                    facts.analysis();
                });
            }
            read(facts.analysis())
        })
    }

    /// What is made of the statement at some length, for the first time or again; time and memory for
    /// the first time are not the script's.
    fn once(
        &self,
        lua: &Lua,
        name: &'static str,
        make: impl FnOnce(&Analysis<'static>) -> mlua::Result<Value>,
    ) -> mlua::Result<Value> {
        let made = self.made.borrow().iter().find(|made| made.0 == name).cloned();
        if let Some((_, value)) = made {
            return self.guard.look().and(value);
        }
        let value = self.read_query(lua, |known| self.guard.spare(lua, || make(known)))?;
        self.made.borrow_mut().push((name, value.clone()));
        value
    }
}

/// The `request` of a script.
pub(super) struct Request {
    pub(super) seat: Rc<Seat>,
    /// Its `query`.
    pub(super) query: AnyUserData,
}

impl Request {
    fn text(
        &self,
        lua: &Lua,
        read: impl for<'f> FnOnce(&'f OwnedFacts) -> Option<&'f [u8]>,
    ) -> mlua::Result<Option<LuaString>> {
        self.seat.read(|facts| read(facts).map(|text| lua.create_string(text)).transpose())?
    }
}

impl UserData for Request {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        for (field, header) in TEXTS {
            fields.add_field_method_get(field, move |lua, this| {
                this.text(lua, |facts| facts.first(header))
            });
        }
        for (field, header) in TABLES {
            fields.add_field_method_get(field, move |lua, this| {
                let pairs = this.seat.read(|facts| facts.pairs(header, LISTED_MAX + 1))?;
                if pairs.len() > LISTED_MAX {
                    let message = format!(
                        "{field} has more than {LISTED_MAX} names, expected at most that many"
                    );
                    return Err(mlua::Error::RuntimeError(message));
                }
                table(lua, pairs)
            });
        }
        fields.add_field_method_get("user", |lua, this| this.text(lua, OwnedFacts::user));
        fields
            .add_field_method_get("user_source", |_, this| this.seat.read(OwnedFacts::user_source));
        fields.add_field_method_get("method", |lua, this| {
            this.text(lua, |facts| Some(facts.method.as_str().as_bytes()))
        });
        fields.add_field_method_get("path", |lua, this| {
            this.text(lua, |facts| facts.path().map(str::as_bytes))
        });
        fields.add_field_method_get("listener", |lua, this| {
            this.text(lua, |facts| facts.listener().map(str::as_bytes))
        });
        fields.add_field_method_get("remote_addr", |_, this| {
            this.seat.read(|facts| facts.remote_addr().map(|address| address.to_string()))
        });
        fields.add_field_method_get("hour", |_, this| {
            this.seat.read(|facts| facts.local_time().hour)
        });
        fields.add_field_method_get("weekday", |_, this| {
            this.seat.read(|facts| facts.local_time().weekday)
        });
        fields.add_field_method_get("client_tags", |lua, this| {
            this.seat.read(|facts| {
                let Some(tags) = facts.client_tags() else { return Ok(None) };
                if tags.len() > LISTED_MAX {
                    let count = tags.len();
                    let message = format!(
                        "the request has {count} client tags, expected at most {LISTED_MAX}"
                    );
                    return Err(mlua::Error::RuntimeError(message));
                }
                list(lua, tags).map(Some)
            })?
        });
        fields.add_field_method_get("query", |_, this| Ok(this.query.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("header", |lua, this, name: LuaString| {
            let Ok(name) = name.to_str() else { return Ok(None) };
            this.seat
                .read(|facts| facts.header(&name).map(|text| lua.create_string(text)).transpose())?
        });
        methods.add_method("has_tag", |_, this, tag: LuaString| {
            this.seat.read(|facts| facts.has_tag(&tag.as_bytes()))
        });
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<(), _>(no_field("request", &key, FIELDS))
        });
    }
}

/// What a statement is and touches.
pub(super) struct Query(pub(super) Rc<Seat>);

impl UserData for Query {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("text", |lua, this| {
            this.0.once(lua, "text", |known| {
                let length = known.text.len();
                if length > TEXT_MAX {
                    let message = format!(
                        "the statement has {length} bytes, expected at most {TEXT_MAX} for its text"
                    );
                    return Err(mlua::Error::RuntimeError(message));
                }
                lua.create_string(known.text.as_bytes()).map(Value::String)
            })
        });
        fields.add_field_method_get("kind", |lua, this| {
            this.0.read_query(lua, |known| known.kind.map(|kind| kind.as_str()))
        });
        fields.add_field_method_get("type", |lua, this| {
            this.0.read_query(lua, |known| known.statement_type)
        });
        fields.add_field_method_get("tables", |lua, this| {
            this.0.once(lua, "tables", |known| {
                few("tables", known.tables.len())?;
                list(lua, known.tables.iter().map(ToString::to_string)).map(Value::Table)
            })
        });
        fields.add_field_method_get("schemas", |lua, this| {
            this.0.once(lua, "schemas", |known| {
                few("schemas", known.schemas.len())?;
                let names = known.schemas.iter();
                let names = names.map(|(catalog, schema)| format!("{catalog}.{schema}"));
                list(lua, names).map(Value::Table)
            })
        });
        fields.add_field_method_get("catalogs", |lua, this| {
            this.0.once(lua, "catalogs", |known| {
                few("catalogs", known.catalogs.len())?;
                list(lua, &known.catalogs).map(Value::Table)
            })
        });
        fields.add_field_method_get("is_read_only", |lua, this| {
            this.0.read_query(lua, |known| known.is_read_only)
        });
        fields.add_field_method_get("is_metadata", |lua, this| {
            this.0.read_query(lua, |known| known.is_metadata)
        });
        fields.add_field_method_get("parse_error", |lua, this| {
            this.0.read_query(lua, |known| known.parse_error.clone())
        });
        fields.add_field_method_get("digest", |lua, this| {
            this.0.once(lua, "digest", |known| lua.create_string(known.digest()).map(Value::String))
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<(), _>(no_field("request.query", &key, QUERY_FIELDS))
        });
    }
}

/// That an object has no such field, and which it has.
pub(super) fn no_field(object: &str, key: &Value, known: &str) -> mlua::Error {
    let key = match given(key) {
        Given::Text(key) => key.chars().take(40).collect(),
        other => kind_of(&other).to_owned(),
    };
    mlua::Error::RuntimeError(format!("{object} has no `{key}`, known: {known}"))
}

/// An error if there are too many to list them.
fn few(what: &str, count: usize) -> mlua::Result<()> {
    if count <= NAMED_MAX {
        return Ok(());
    }
    let message = format!("the statement names {count} {what}, expected at most {NAMED_MAX}");
    Err(mlua::Error::RuntimeError(message))
}

fn list<T: AsRef<[u8]>>(lua: &Lua, items: impl IntoIterator<Item = T>) -> mlua::Result<Table> {
    let items: Vec<LuaString> =
        items.into_iter().map(|item| lua.create_string(item)).collect::<mlua::Result<_>>()?;
    let list = lua.create_sequence_from(items)?;
    list.set_readonly(true);
    Ok(list)
}

/// Of two values with one name the last counts.
fn table(lua: &Lua, pairs: Vec<Pair>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, value) in pairs {
        table.raw_set(name, value)?;
    }
    table.set_readonly(true);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;
    use crate::route::sandbox::{Limits, machine};

    #[test]
    fn what_failed_is_not_made_again_in_the_same_call() {
        let limits = Limits::of_call(Duration::from_millis(2), 32 << 20);
        let (lua, guard) = machine(&[], limits, "route.lua").unwrap();
        let seat = Seat::new(&guard);
        let headers = HeaderMap::new();
        let made = Cell::new(0);
        let make = || {
            seat.once(&lua, "tables", |_| {
                made.set(made.get() + 1);
                Err(mlua::Error::MemoryError("not enough memory".to_owned()))
            })
        };
        for calls in 1..=2 {
            seat.take(&Facts::plain(&headers));
            for _ in 0..3 {
                assert!(matches!(make(), Err(mlua::Error::MemoryError(_))));
            }
            assert!(seat.leave().is_none());
            assert_eq!(made.get(), calls);
        }
    }
}
