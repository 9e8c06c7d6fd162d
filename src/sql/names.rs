//! What a statement touches: names, made whole by what the session says.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use super::cursor::Name;

/// The most different tables that are listed; a statement that names more says so in its error.
pub const TABLES_MAX: usize = 10_000;

/// The longest name of a session that is taken up: it is copied into each table's name.
const DEFAULT_MAX: usize = 512;

/// A table, view or table function by its full name, in small letters as Trino compares names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// The catalog.
    pub catalog: String,
    /// The schema in it.
    pub schema: String,
    /// The name in that.
    pub name: String,
}

impl Table {
    /// Whether it is the one of this name.
    pub(super) fn is(&self, catalog: &str, schema: &str, name: &str) -> bool {
        self.catalog == catalog && self.schema == schema && self.name == name
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.schema, self.name)
    }
}

/// Gathers names while a statement is read.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The session's catalog.
    pub default_catalog: Option<String>,
    /// The session's schema.
    pub default_schema: Option<String>,
    /// Tables, views and table functions.
    pub tables: BTreeSet<Table>,
    /// Catalogs, also of those tables.
    pub catalogs: BTreeSet<String>,
    /// Catalog and schema, also of those tables.
    pub schemas: BTreeSet<(String, String)>,
    /// What is wrong with the first name that could not be made whole.
    pub problem: Option<String>,
    /// Whether any relation was read at all, be it a table or none.
    pub has_relation: bool,
    /// Whether a table function is called.
    pub has_function: bool,
    /// Names of `WITH` that count where we are: how many of them lie over each other.
    visible: HashMap<String, usize>,
    /// Those, in the order in which they came.
    order: Vec<String>,
    /// All that ever were declared.
    declared: HashSet<String>,
}

impl Names {
    /// Nothing yet, in a session with these defaults.
    pub(super) fn of_session(catalog: Option<&str>, schema: Option<&str>) -> Self {
        let fit = |name: &&str| !name.is_empty() && name.len() <= DEFAULT_MAX;
        Self {
            default_catalog: catalog.filter(fit).map(str::to_lowercase),
            default_schema: schema.filter(fit).map(str::to_lowercase),
            ..Self::default()
        }
    }

    /// A table that the statement touches, unless a name of `WITH` is meant.
    pub(super) fn table(&mut self, name: &Name<'_>) {
        self.has_relation = true;
        if name.len() == 1 && self.visible.contains_key(&name.part(0)) {
            return;
        }
        self.object(name);
    }

    /// A table that is found by tokens alone: where a name of `WITH` counts is not known there.
    pub(super) fn guessed_table(&mut self, name: &Name<'_>) {
        self.has_relation = true;
        if name.len() > 1 || !self.declared.contains(&name.part(0)) {
            self.object(name);
        }
    }

    /// A table or view that is no name of `WITH`, such as the target of an INSERT.
    pub(super) fn object(&mut self, name: &Name<'_>) {
        if self.tables.len() >= TABLES_MAX {
            self.trouble(|| format!("more than {TABLES_MAX} tables; the first ones are listed"));
        } else if let Some(table) = self.whole(name) {
            self.insert(table);
        }
    }

    /// A table function. One without a schema is found by the path: mostly Trino's own.
    pub(super) fn function(&mut self, name: &Name<'_>) {
        self.has_relation = true;
        self.has_function = true;
        if name.len() > 1 {
            self.object(name);
        }
    }

    /// A schema that is named as such.
    pub(super) fn schema(&mut self, name: &Name<'_>) {
        if let Some((catalog, schema)) = self.whole_schema(name) {
            self.catalogs.insert(catalog.clone());
            self.schemas.insert((catalog, schema));
        }
    }

    /// `ALTER SCHEMA from RENAME TO to`, where `to` lies in the catalog of `from`.
    pub(super) fn renamed_schema(&mut self, from: &Name<'_>, to: String) {
        self.schema(from);
        if let Some((catalog, _)) = self.whole_schema(from) {
            self.schemas.insert((catalog, to));
        }
    }

    /// `… from RENAME TO to`, where what `to` does not say is as in `from`.
    pub(super) fn renamed(&mut self, from: &Name<'_>, to: &Name<'_>) {
        let Some(source) = self.whole(from) else {
            return;
        };
        let target = match to.len() {
            1 => Table { name: to.part(0), ..source.clone() },
            2 => Table { catalog: source.catalog.clone(), schema: to.part(0), name: to.part(1) },
            _ => match self.whole(to) {
                Some(target) => target,
                None => source.clone(),
            },
        };
        self.insert(source);
        self.insert(target);
    }

    /// The schema of the session.
    pub(super) fn default_schema(&mut self) {
        match (self.default_catalog.clone(), self.default_schema.clone()) {
            (Some(catalog), Some(schema)) => {
                self.catalogs.insert(catalog.clone());
                self.schemas.insert((catalog, schema));
            }
            _ => self.trouble(|| "Name not fully qualified".to_owned()),
        }
    }

    /// The catalog of the session.
    pub(super) fn default_catalog(&mut self) {
        match self.default_catalog.clone() {
            Some(catalog) => {
                self.catalogs.insert(catalog);
            }
            None => self.trouble(|| "Name not fully qualified".to_owned()),
        }
    }

    /// From here on `name` is a query's, as `WITH` says.
    pub(super) fn declare(&mut self, name: String) {
        *self.visible.entry(name.clone()).or_default() += 1;
        self.declared.insert(name.clone());
        self.order.push(name);
    }

    /// `name` is a query's somewhere; where is not known.
    pub(super) fn declare_somewhere(&mut self, name: String) {
        self.declared.insert(name);
    }

    /// How many names of `WITH` count here: what [`Names::leave`] goes back to.
    pub(super) fn mark(&self) -> usize {
        self.order.len()
    }

    /// The query ends whose names came after `mark`.
    pub(super) fn leave(&mut self, mark: usize) {
        for name in self.order.drain(mark..) {
            if let Some(count) = self.visible.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.visible.remove(&name);
                }
            }
        }
    }

    /// What a name means in this session, if the session says enough.
    pub(super) fn resolve(&self, name: &Name<'_>) -> Option<Table> {
        let (catalog, schema) = (self.default_catalog.as_ref(), self.default_schema.as_ref());
        let parts: [String; 3] = match name.len() {
            1 => [catalog?.clone(), schema?.clone(), name.part(0)],
            2 => [catalog?.clone(), name.part(0), name.part(1)],
            3 => [name.part(0), name.part(1), name.part(2)],
            _ => return None,
        };
        let [catalog, schema, name] = parts;
        Some(Table { catalog, schema, name })
    }

    /// What a name means, or what is wrong with it.
    fn whole(&mut self, name: &Name<'_>) -> Option<Table> {
        let table = self.resolve(name);
        if table.is_none() {
            self.trouble(|| match name.len() {
                1 | 2 => format!("Name not fully qualified: `{}`", name.part(name.len() - 1)),
                parts => format!("Unexpected table name: it has {parts} parts"),
            });
        }
        table
    }

    fn whole_schema(&mut self, name: &Name<'_>) -> Option<(String, String)> {
        match (name.len(), self.default_catalog.clone()) {
            (1, Some(catalog)) => Some((catalog, name.part(0))),
            (2, _) => Some((name.part(0), name.part(1))),
            (1, None) => {
                self.trouble(|| format!("Name not fully qualified: `{}`", name.part(0)));
                None
            }
            _ => {
                self.trouble(|| format!("Unexpected schema name: it has {} parts", name.len()));
                None
            }
        }
    }

    fn insert(&mut self, table: Table) {
        if self.tables.contains(&table) {
            return;
        }
        if !self.catalogs.contains(&table.catalog) {
            self.catalogs.insert(table.catalog.clone());
        }
        self.schemas.insert((table.catalog.clone(), table.schema.clone()));
        self.tables.insert(table);
    }

    fn trouble(&mut self, text: impl FnOnce() -> String) {
        if self.problem.is_none() {
            self.problem = Some(text());
        }
    }
}
