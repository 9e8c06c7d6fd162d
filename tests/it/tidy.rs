//! The rules of the house that no compiler checks: sizes, heads, who imports whom, what the docs
//! must name, links that lead somewhere.
//!
//! Who may import whom stands in `docs/ARCHITECTURE.md` and is read from there, so that the page
//! and the rule cannot differ. An exception from any other rule is one line in [`EXCEPTIONS`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

/// Rule, file, reason. One that excuses nothing is itself a finding.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// The most production lines of a file: those before its tests.
const LINES_MAX: usize = 400;

/// Where Rust lies.
const RUST: [&str; 4] = ["src", "tests", "bench", "fuzz"];

struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    /// What is compiled into a program, with the number of each line.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let all = !is_test(&self.path);
        let lines = self.text.lines().take_while(move |line| all && *line != "#[cfg(test)]");
        lines.enumerate().map(|(place, line)| (place + 1, line))
    }

    /// The first folder or file of the product that it belongs to: `src/proxy/x.rs` → `proxy`.
    fn room(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split('/').next()?.trim_end_matches(".rs"))
    }
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests") || path.ends_with("tests.rs")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with one of these endings, in order.
fn files(folder: &str, endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    collect(&root().join(folder), endings, &mut found);
    assert!(!found.is_empty(), "nothing ends in {endings:?} below {folder}");
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target" && name != "__pycache__") {
                collect(&path, endings, found);
            }
        } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
            found.push(file(&path));
        }
    }
}

fn file(path: &Path) -> File {
    let text = fs::read(path).unwrap();
    let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    File { path, text: String::from_utf8_lossy(&text).into_owned() }
}

fn named(path: &str) -> File {
    file(&root().join(path))
}

fn rust() -> Vec<File> {
    RUST.iter().flat_map(|folder| files(folder, &[".rs"])).collect()
}

/// Fails with all findings at once, but for those that are excused.
fn report(rule: &str, findings: &[(String, String)]) {
    // A finding may tell a line too: `src/x.rs:7`.
    let file_of = |path: &str| path.split(':').next().unwrap_or_default().to_owned();
    let excused = |path: &str| EXCEPTIONS.iter().any(|(r, p, _)| *r == rule && *p == file_of(path));
    let mut told: Vec<String> = findings
        .iter()
        .filter(|(path, _)| !excused(path))
        .map(|(path, what)| format!("{path}: {what}"))
        .collect();
    for (_, path, _) in EXCEPTIONS.iter().filter(|(r, _, _)| *r == rule) {
        if !findings.iter().any(|(found, _)| file_of(found) == *path) {
            told.push(format!("{path}: the exception from `{rule}` excuses nothing; remove it"));
        }
    }
    assert!(told.is_empty(), "{rule}:\n  {}", told.join("\n  "));
}

#[test]
fn files_are_short() {
    let long = |file: &File| {
        let lines = file.production().count();
        let text = format!("{lines} production lines, at most {LINES_MAX}; split off a pure leaf");
        (lines > LINES_MAX).then(|| (file.path.clone(), text))
    };
    report("files are short", &rust().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn modules_say_what_they_are_for() {
    let mut findings = Vec::new();
    for file in rust() {
        if !file.text.starts_with("//! ") {
            findings.push((file.path.clone(), "begins without `//!`".to_owned()));
        }
        if file.path.ends_with("/mod.rs") {
            findings.push((file.path.clone(), "is named mod.rs; foo.rs over foo/".to_owned()));
        }
    }
    report("modules say what they are for", &findings);
}

#[test]
fn every_file_is_a_module() {
    let all = files("src", &[".rs"]);
    let text_of: BTreeMap<&str, &str> =
        all.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let is_declared = |path: &str| {
        let (folder, name) = path.rsplit_once('/').unwrap();
        let stem = name.trim_end_matches(".rs");
        let owners: Vec<String> = if folder == "src" {
            vec!["src/lib.rs".to_owned()]
        } else {
            // `#[path = "x_tests.rs"]` is declared by a neighbour.
            let here = all.iter().filter(|f| f.path.rsplit_once('/').unwrap().0 == folder);
            here.map(|f| f.path.clone()).chain([format!("{folder}.rs")]).collect()
        };
        let line = Regex::new(&format!(
            r#"(?m)^\s*(pub(\([a-z ]+\))? )?mod {stem};|#\[path = "{name}"\]"#
        ));
        let line = line.unwrap();
        owners.iter().any(|owner| text_of.get(owner.as_str()).is_some_and(|t| line.is_match(t)))
    };
    let lost = all
        .iter()
        .filter(|file| !matches!(file.path.as_str(), "src/lib.rs" | "src/main.rs"))
        .filter(|file| !is_declared(&file.path))
        .map(|file| (file.path.clone(), "no module declares it".to_owned()));
    report("every file is a module", &lost.collect::<Vec<_>>());
}

/// The rows of the table between two comments in `docs/ARCHITECTURE.md`: name → words in backticks.
fn table(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let page = named("docs/ARCHITECTURE.md").text;
    let between = page
        .split_once(&format!("<!-- {name}:begin -->"))
        .and_then(|(_, rest)| rest.split_once(&format!("<!-- {name}:end -->")));
    let (rows, _) = between.unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no table {name}"));
    let word = Regex::new("`([^`]+)`").unwrap();
    let words = |cell: &str| -> BTreeSet<String> {
        word.captures_iter(cell).map(|found| found[1].to_owned()).collect()
    };
    rows.lines()
        .filter(|row| row.starts_with("| `"))
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            (words(cells[0]).pop_first().unwrap(), words(cells[1]))
        })
        .collect()
}

/// What a file takes from other rooms: `health::verdict`, `config`.
fn imports(file: &File) -> BTreeSet<(usize, String)> {
    let path = Regex::new(r"\bcrate::([a-z_]+)(?:::([A-Za-z_]+|\{[^}]*\}))?").unwrap();
    let group = Regex::new(r"\bcrate::\{([^}]*)\}").unwrap();
    let mut found = BTreeSet::new();
    for (number, line) in file.production() {
        let line = line.split("//").next().unwrap_or_default();
        for import in path.captures_iter(line) {
            let room = &import[1];
            let inner = import.get(2).map_or("", |inner| inner.as_str());
            let inner = inner.trim_matches(['{', '}']);
            for part in inner.split(',').map(str::trim) {
                found.insert((number, format!("{room}::{part}").trim_end_matches("::").to_owned()));
            }
        }
        for import in group.captures_iter(line) {
            found.extend(import[1].split(',').map(|room| (number, room.trim().to_owned())));
        }
    }
    found
}

#[test]
fn rooms_import_only_what_they_may() {
    let allowed = table("imports");
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for file in files("src", &[".rs"]) {
        let Some(room) = file.room().filter(|room| !matches!(*room, "lib" | "main")) else {
            continue;
        };
        let Some(may) = allowed.get(room) else {
            findings.push((file.path.clone(), format!("the room `{room}` is not in the table")));
            continue;
        };
        for (line, import) in imports(&file) {
            let of = import.split("::").next().unwrap();
            if of == room {
                continue;
            }
            let granted =
                may.iter().find(|may| import == **may || import.starts_with(&format!("{may}::")));
            if let Some(granted) = granted {
                used.insert((room.to_owned(), granted.clone()));
            } else {
                let text = format!("`{room}` may not import `{import}`");
                findings.push((format!("{}:{line}", file.path), text));
            }
        }
    }
    for (room, may) in &allowed {
        for unused in may.iter().filter(|may| !used.contains(&(room.clone(), (*may).clone()))) {
            let text = format!("`{room}` does not import `{unused}` any more; take it out");
            findings.push(("docs/ARCHITECTURE.md".to_owned(), text));
        }
    }
    report("rooms import only what they may", &findings);
}

#[test]
fn libraries_stay_in_their_shells() {
    let mut findings = Vec::new();
    for (library, shells) in table("libraries") {
        // `pingora` also stands for pingora_proxy and its like; a name in a text is no use of it.
        let path = Regex::new(&format!(r#"(^|[^"\w]){library}(_[a-z_]+)?::"#)).unwrap();
        for file in files("src", &[".rs"]) {
            let own = file.path.trim_start_matches("src/").trim_end_matches(".rs").to_owned();
            let inside =
                shells.iter().any(|shell| own == *shell || own.starts_with(&format!("{shell}/")));
            let uses = |line: &str| path.is_match(line.split("//").next().unwrap_or_default());
            let first = file.production().find(|(_, line)| uses(line)).map(|(number, _)| number);
            if let (false, Some(number)) = (inside, first) {
                let text = format!("uses `{library}`, which is confined to {shells:?}");
                findings.push((format!("{}:{number}", file.path), text));
            }
        }
    }
    report("libraries stay in their shells", &findings);
}

#[test]
fn nothing_is_left_undone() {
    let notes =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("dbg", "!("), concat!("XX", "X ")];
    let mut findings = Vec::new();
    for file in everything() {
        for (place, line) in file.text.lines().enumerate() {
            for note in notes.iter().filter(|note| line.contains(**note)) {
                findings.push((format!("{}:{}", file.path, place + 1), format!("says {note}")));
            }
        }
    }
    report("nothing is left undone", &findings);
}

#[test]
fn only_the_command_line_prints() {
    let print = Regex::new(r"\be?print(ln)?!\(").unwrap();
    let mut findings = Vec::new();
    for file in files("src", &[".rs"]) {
        if file.room() == Some("cli") {
            continue;
        }
        for (number, line) in file.production().filter(|(_, line)| print.is_match(line)) {
            findings.push((format!("{}:{number}", file.path), line.trim().to_owned()));
        }
    }
    report("only the command line prints", &findings);
}

#[test]
fn unsafe_code_is_in_one_file() {
    let mut findings = Vec::new();
    for file in files("src", &[".rs"]).into_iter().chain(files("bench", &[".rs"])) {
        if file.path == "src/route/closures.rs" {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            if line.contains("unsafe {") || line.contains("unsafe_code") {
                findings.push((format!("{}:{}", file.path, number + 1), line.trim().to_owned()));
            }
        }
    }
    report("unsafe code is in one file", &findings);
}

#[test]
fn every_metric_is_in_the_docs() {
    let page = named("docs/metrics.md").text;
    let names = Regex::new(r#""(warren_[a-z_]+)""#).unwrap();
    let figures = Regex::new(r#"^\s*\("([a-z_]+)", "#).unwrap();
    let steps = Regex::new(r#"\.(?:lookup|retry)\("([a-z_]+)"\)"#).unwrap();
    let whys = Regex::new(r#"(?:Self::text\(\w+, |Self::retry\(|why: )"([a-z_]+)""#).unwrap();
    let figure_of = Regex::new(r#"gauges\.with_label_values\(&\["([a-z_]+)"\]\)"#).unwrap();
    let mut in_code = BTreeSet::new();
    for file in files("src", &[".rs"]) {
        for (_, line) in file.production() {
            let mut take = |pattern: &Regex| {
                in_code.extend(pattern.captures_iter(line).map(|found| found[1].to_owned()));
            };
            match file.path.as_str() {
                "src/telemetry/metrics.rs" => take(&names),
                "src/admin/figures.rs" => take(&figures),
                "src/proxy/rescue.rs" => take(&whys),
                _ => {
                    take(&steps);
                    take(&figure_of);
                }
            }
        }
    }
    assert!(in_code.contains("warren_requests_total") && in_code.contains("owner_away"));
    let missing = in_code.iter().filter(|name| !page.contains(&format!("`{name}`")));
    let mut findings: Vec<_> = missing
        .map(|name| ("docs/metrics.md".to_owned(), format!("does not name `{name}`")))
        .collect();
    let told = Regex::new("`(warren_[a-z_]+)`").unwrap();
    for name in told.captures_iter(&page).map(|found| found[1].to_owned()) {
        if !in_code.contains(&name) {
            findings.push(("docs/metrics.md".to_owned(), format!("`{name}` does not exist")));
        }
    }
    report("every metric is in the docs", &findings);
}

#[test]
fn the_map_names_every_file() {
    let page = named("docs/ARCHITECTURE.md").text;
    let missing = files("src", &[".rs"])
        .into_iter()
        .filter(|file| !is_test(&file.path))
        .filter(|file| !page.contains(&format!("`{}`", file.path.trim_start_matches("src/"))))
        .map(|file| ("docs/ARCHITECTURE.md".to_owned(), format!("does not name {}", file.path)));
    report("the map names every file", &missing.collect::<Vec<_>>());
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r#"\]\(([^)\s]+)\)|(?:src|href)="([^"]+)""#).unwrap();
    let mut pages = files("docs", &[".md"]);
    pages.extend(["README.md", "CHANGELOG.md"].map(named));
    let mut findings = Vec::new();
    for page in &pages {
        let folder = root().join(&page.path).parent().unwrap().to_owned();
        for found in link.captures_iter(&page.text) {
            let target = found.get(1).or_else(|| found.get(2)).unwrap().as_str();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if path.is_empty() { root().join(&page.path) } else { folder.join(path) };
            if !leads_somewhere(&there, anchor) {
                findings.push((page.path.clone(), format!("the link `{target}` is dead")));
            }
        }
    }
    report("links lead somewhere", &findings);
}

fn leads_somewhere(there: &Path, anchor: &str) -> bool {
    if anchor.is_empty() {
        return there.exists();
    }
    fs::read_to_string(there).is_ok_and(|text| {
        text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor)
    })
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// Whoever reads this checkout has another machine.
#[test]
fn no_path_of_one_machine() {
    let path = Regex::new(&format!(r#"(^|[\s"'`(=])/({}|{}|root|home/[a-z]+)/"#, "work", "tmp"));
    let path = path.unwrap();
    let mut findings = Vec::new();
    for file in everything() {
        for (place, line) in file.text.lines().enumerate().filter(|(_, line)| path.is_match(line)) {
            findings.push((format!("{}:{}", file.path, place + 1), line.trim().to_owned()));
        }
    }
    report("no path of one machine", &findings);
}

/// All that is written by hand, but for this file, which names what it looks for.
fn everything() -> Vec<File> {
    const ENDINGS: [&str; 12] = [
        ".rs", ".md", ".toml", ".lua", ".py", ".sh", ".sql", ".java", ".go", ".js", ".service",
        ".svg",
    ];
    let folders = ["src", "tests", "bench", "fuzz", "docs", "conf", "lua", "deploy"];
    let mut all: Vec<File> = folders.iter().flat_map(|folder| files(folder, &ENDINGS)).collect();
    all.extend(["README.md", "CHANGELOG.md", "Makefile", "Dockerfile", "Cargo.toml"].map(named));
    all.retain(|file| file.path != "tests/it/tidy.rs");
    all
}
