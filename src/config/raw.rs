//! The file's shape: sections of settings, read piece by piece so that every problem is noted and
//! none hides another.
//!
//! A reader that finds a problem notes it and gives its caller a stand-in or `None`. `resolve`
//! throws the whole result away if anything was noted, so stand-ins never reach the program.
//! It does not derive serde on the shape: serde stops at the first unknown key.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem, Wrong, nearest, plain, quoted, shown};
use super::settings::{self, Fallback, SETTINGS};
use super::{duration, size};

/// The most syntax errors that one report holds; later ones mostly follow from the first.
const SYNTAX_ERRORS_MAX: usize = 20;

/// What a file is read against: its text, its folder, the environment.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// Relative paths start here. Absolute.
    folder: PathBuf,
    environment: &'a dyn Fn(&str) -> Option<String>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &'a str,
        folder: PathBuf,
        environment: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self { text, folder, environment, problems: RefCell::default() }
    }

    /// Reads the text as TOML. `Err`: it is none, and the problems are noted.
    pub(super) fn table(&self) -> Result<DeTable<'a>, ()> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
            // Not `Display`: that quotes the line, which may hold a password.
            let what = format!("not TOML: {}", error.message());
            self.note(Problem {
                path: String::new(),
                place: error.span().map(|span| Place::of(self.text, span.start)),
                value: None,
                what,
                right: None,
            });
        }
        if errors.is_empty() { Ok(table.into_inner()) } else { Err(()) }
    }

    /// The section that is the file itself.
    pub(super) fn root<'r>(&'r self, table: &'r DeTable<'a>) -> Section<'r> {
        let section = Section {
            reader: self,
            path: String::new(),
            schema: "",
            table: Some(table),
            span: None,
        };
        section.refuse_unknown_keys();
        section
    }

    pub(super) fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// A path of the file, from the file's folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(Path::new(path))
    }
}

/// One table of the file, present or not.
pub(super) struct Section<'r> {
    pub(super) reader: &'r Reader<'r>,
    /// Its name in the file, as `clusters[1].probe`.
    path: String,
    /// Its name in the list of settings, as `clusters[].probe`.
    schema: &'static str,
    table: Option<&'r DeTable<'r>>,
    span: Option<Range<usize>>,
}

/// A value of the file, with what is needed to complain about it.
#[derive(Clone)]
pub(super) struct Found<'r> {
    pub(super) path: String,
    pub(super) span: Range<usize>,
    pub(super) value: &'r DeValue<'r>,
}

impl<'r> Section<'r> {
    /// The table under `name`. `schema` is its full name in the list of settings.
    pub(super) fn section(&self, name: &str, schema: &'static str) -> Self {
        let path = self.path_of(name);
        let found = self.find(name);
        let table = found.as_ref().and_then(|found| found.value.as_table());
        if let (Some(found), None) = (&found, table) {
            self.wrong_type(found, "a table", &format!("write `[{path}]`"));
        }
        let span = found.map(|found| found.span).or_else(|| self.span.clone());
        let section = Self { reader: self.reader, path, schema, table, span };
        section.refuse_unknown_keys();
        section
    }

    /// The list of tables under `name`.
    pub(super) fn sections(&self, name: &str, schema: &'static str) -> Vec<Self> {
        let Some(found) = self.find(name) else { return Vec::new() };
        let right = format!("write `[[{name}]]` above each");
        let Some(array) = found.value.as_array() else {
            self.wrong_type(&found, "a list of tables", &right);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let found = element_of(&found, index, element);
            let Some(table) = found.value.as_table() else {
                self.wrong_type(&found, "a table", &right);
                continue;
            };
            let section = Self {
                reader: self.reader,
                path: found.path,
                schema,
                table: Some(table),
                span: Some(found.span),
            };
            section.refuse_unknown_keys();
            sections.push(section);
        }
        sections
    }

    /// A text that `parse` understands, or the default. A value that `parse` refuses is noted.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let Some(found) = self.find(name) else {
            return self.default_text(name).and_then(|text| parse(text).ok());
        };
        let text = self.text_of(&found)?;
        parse(text).map_err(|wrong| self.refuse(&found, wrong)).ok()
    }

    /// A list of texts, each understood by `parse`.
    pub(super) fn list<T>(
        &self,
        name: &str,
        mut parse: impl FnMut(&str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let Some(found) = self.find(name) else { return Vec::new() };
        let Some(array) = found.value.as_array() else {
            self.wrong_type(&found, "a list", "write it in brackets, as `[\"…\", \"…\"]`");
            return Vec::new();
        };
        let mut values = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let found = element_of(&found, index, element);
            let Some(text) = self.text_of(&found) else { continue };
            match parse(text) {
                Ok(value) => values.push(value),
                Err(wrong) => self.refuse(&found, wrong),
            }
        }
        values
    }

    /// A path, from the folder of the file.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.parsed(name, |text| {
            if text.is_empty() {
                return Err(Wrong::new("an empty path", "name a file or a folder"));
            }
            Ok(self.reader.resolve(text))
        })
    }

    /// A span of time within bounds.
    pub(super) fn duration(&self, name: &str, bounds: RangeInclusive<Duration>) -> Duration {
        self.parsed(name, |text| within(duration::parse(text)?, &bounds, duration::show))
            // The default stands in for a bad value, so that what must fit together does fit.
            .or_else(|| duration::parse(self.default_text(name)?).ok())
            .unwrap_or_else(|| *bounds.start())
    }

    /// An amount of bytes within bounds; a bare number is bytes.
    pub(super) fn size(&self, name: &str, bounds: RangeInclusive<u64>) -> u64 {
        let stand_in = *bounds.start();
        if let Some(found) = self.find(name)
            && let DeValue::Integer(_) = found.value
        {
            return self.integer(&found, &bounds, size::show).unwrap_or(stand_in);
        }
        self.parsed(name, |text| within(size::parse(text)?, &bounds, size::show))
            .unwrap_or(stand_in)
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, name: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        match self.find(name) {
            Some(found) => self.integer(&found, &bounds, |number| number.to_string()),
            None => self.default_text(name).and_then(|text| text.parse().ok()),
        }
    }

    /// Yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        let Some(found) = self.find(name) else { return self.default_text(name) == Some("true") };
        found.value.as_bool().unwrap_or_else(|| {
            self.wrong_type(&found, "`true` or `false`", "write it without quotes");
            false
        })
    }

    /// The value under `name`, if the file has one.
    pub(super) fn find(&self, name: &str) -> Option<Found<'r>> {
        let value = self.table?.get(name)?;
        Some(Found { path: self.path_of(name), span: value.span(), value: value.get_ref() })
    }

    /// The text of a value; another type is noted.
    pub(super) fn text_of(&self, found: &Found<'r>) -> Option<&'r str> {
        let text = found.value.as_str();
        if text.is_none() {
            self.wrong_type(found, "a text", "write it in quotes");
        }
        text
    }

    /// The value of the list of settings; a required setting that is missing is noted.
    pub(super) fn default_text(&self, name: &str) -> Option<&'static str> {
        match settings::find(self.schema, name)?.fallback {
            Fallback::Value(text) => Some(text),
            Fallback::Required => {
                self.complain(name, "missing, and it has no default", "add it");
                None
            }
            Fallback::Nothing | Fallback::Empty | Fallback::Told(_) => None,
        }
    }

    /// Notes what is wrong with a setting, whether it is written or not, and does not show it.
    pub(super) fn complain(&self, name: &str, what: impl Into<String>, right: impl Into<String>) {
        let span = self.find(name).map(|found| found.span).or_else(|| self.span.clone());
        self.reader.note(Problem {
            path: self.path_of(name),
            place: span.map(|span| Place::of(self.reader.text, span.start)),
            value: None,
            what: what.into(),
            right: Some(right.into()),
        });
    }

    /// Notes a value that was refused, and shows it unless it may hold a credential.
    pub(super) fn refuse(&self, found: &Found<'r>, wrong: Wrong) {
        self.report(found, Some(shown(found.value)), wrong);
    }

    /// Notes a value that was refused without showing it.
    pub(super) fn refuse_hidden(&self, found: &Found<'r>, wrong: Wrong) {
        self.report(found, None, wrong);
    }

    /// Where a setting stands, for a message about another one.
    pub(super) fn line_of(&self, name: &str) -> Option<usize> {
        self.find(name).map(|found| Place::of(self.reader.text, found.span.start).line)
    }

    fn report(&self, found: &Found<'r>, value: Option<String>, wrong: Wrong) {
        self.reader.note(Problem {
            path: found.path.clone(),
            place: Some(Place::of(self.reader.text, found.span.start)),
            value,
            what: wrong.what,
            right: Some(wrong.right),
        });
    }

    fn wrong_type(&self, found: &Found<'r>, wanted: &str, right: &str) {
        let what = format!("{} where {wanted} belongs", found.value.type_str());
        self.refuse(found, Wrong::new(what, right));
    }

    fn integer(
        &self,
        found: &Found<'r>,
        bounds: &RangeInclusive<u64>,
        show: impl Fn(u64) -> String,
    ) -> Option<u64> {
        let DeValue::Integer(integer) = found.value else {
            self.wrong_type(found, "a whole number", "write it without quotes");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| {
            Wrong::new(
                "not a number that this can take",
                format!("between {} and {}", show(*bounds.start()), show(*bounds.end())),
            )
        });
        number
            .and_then(|number| within(number, bounds, &show))
            .map_err(|wrong| self.refuse(found, wrong))
            .ok()
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn refuse_unknown_keys(&self) {
        let known = settings::names_in(self.schema);
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            self.reader.note(Problem {
                path: self.path_of(&plain(name)),
                place: Some(Place::of(self.reader.text, key.span().start)),
                value: None,
                what: "unknown setting".to_owned(),
                right: Some(self.hint(name, &known)),
            });
        }
    }

    fn hint(&self, name: &str, known: &[&str]) -> String {
        if let Some(near) = nearest(name, known.iter().copied()) {
            return format!("did you mean `{}`?", self.path_of(near));
        }
        match SETTINGS.iter().find(|setting| setting.name() == name) {
            Some(setting) => format!("did you mean `{}`?", setting.key),
            None => format!("known here: {}", quoted(known.iter())),
        }
    }
}

fn within<T: PartialOrd + Copy>(
    value: T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(T) -> String,
) -> Result<T, Wrong> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let what = if value < *bounds.start() { "too small" } else { "too large" };
    let right = format!("between {} and {}", show(*bounds.start()), show(*bounds.end()));
    Err(Wrong::new(what, right))
}

fn element_of<'r>(list: &Found<'r>, index: usize, element: &'r Spanned<DeValue<'r>>) -> Found<'r> {
    Found {
        path: format!("{}[{index}]", list.path),
        span: element.span(),
        value: element.get_ref(),
    }
}
