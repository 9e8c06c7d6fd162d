//! Figures: medians with their spread, ratios to the bare proxy and to nginx.

use serde_json::{Value, json};

use crate::load::{Kind, Outcome};
use crate::target::{BARE, NGINX};

/// One turn of one target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
    errors: u64,
}

impl Sample {
    /// The figures of a run that cost so many nanoseconds on a CPU.
    pub(crate) fn new(outcome: Outcome, cpu_nanos: u64) -> Self {
        let requests = outcome.requests.max(1) as f64;
        Self {
            per_second: requests / (outcome.duration_us.max(1) as f64 / 1e6),
            p50_us: outcome.p50_us,
            p99_us: outcome.p99_us,
            cpu_us: cpu_nanos as f64 / 1000.0 / requests,
            errors: outcome.errors,
        }
    }
}

/// All turns of one target with one kind of load.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was asked.
    pub kind: Kind,
    /// Whom.
    pub target: &'static str,
    /// The turns.
    pub samples: Vec<Sample>,
    /// Its memory after the last turn.
    pub resident_mib: Option<f64>,
}

impl Row {
    /// A row without turns.
    pub(crate) fn new(kind: Kind, target: &'static str) -> Self {
        Self { kind, target, samples: Vec::new(), resident_mib: None }
    }

    fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(figure).collect())
    }

    fn cpu(&self) -> Spread {
        self.spread(|sample| sample.cpu_us)
    }
}

/// A median and what lies around it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Self { median: 0.0, min: 0.0, max: 0.0 };
        };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { median, min: *min, max: *max }
    }

    fn text(self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}..{:.digits$})", self.median, self.min, self.max)
    }
}

/// The whole run.
#[derive(Debug)]
pub(crate) struct Report {
    /// A row for each kind and target.
    pub rows: Vec<Row>,
    /// How it was measured.
    pub about: String,
}

const HEAD: [&str; 9] = [
    "load",
    "target",
    "requests/s",
    "p50 µs",
    "p99 µs",
    "CPU µs/request",
    "× bare pingora",
    "× nginx",
    "RSS MiB",
];

impl Report {
    /// Requests that failed in any turn.
    pub(crate) fn errors(&self) -> u64 {
        self.rows.iter().flat_map(|row| &row.samples).map(|sample| sample.errors).sum()
    }

    fn cells(&self) -> Vec<[String; 9]> {
        let ratio = |row: &Row, to: &str| {
            let base = self.rows.iter().find(|other| other.target == to && other.kind == row.kind);
            let base = base.map_or(0.0, |base| base.cpu().median);
            let known = base > 0.0 && row.target != "direct";
            if known { format!("{:.2}", row.cpu().median / base) } else { "–".to_owned() }
        };
        let cells = |row: &Row| {
            [
                row.kind.as_str().to_owned(),
                row.target.to_owned(),
                row.spread(|sample| sample.per_second).text(0),
                row.spread(|sample| sample.p50_us).text(0),
                row.spread(|sample| sample.p99_us).text(0),
                row.cpu().text(1),
                ratio(row, BARE),
                ratio(row, NGINX),
                row.resident_mib.map_or_else(|| "–".to_owned(), |mib| format!("{mib:.0}")),
            ]
        };
        self.rows.iter().map(cells).collect()
    }

    /// The table for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.cells());
        let width = |column: usize| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let shown = |line: &[String; 9]| {
            let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let lines: Vec<String> = lines.iter().map(shown).collect();
        format!("{}\n{}", lines.join("\n"), self.about)
    }

    /// The table for the README.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&HEAD.map(str::to_owned));
        text.push_str(&line(&HEAD.map(|_| "---".to_owned())));
        for cells in self.cells() {
            text.push_str(&line(&cells));
        }
        format!("{text}\n{}. Medians (least..most).\n", self.about)
    }

    /// All samples.
    pub(crate) fn json(&self) -> String {
        let sample = |sample: &Sample| {
            json!({
                "requests_per_second": sample.per_second, "p50_us": sample.p50_us,
                "p99_us": sample.p99_us, "cpu_us_per_request": sample.cpu_us,
                "errors": sample.errors,
            })
        };
        let row = |row: &Row| {
            json!({
                "load": row.kind.as_str(), "target": row.target,
                "cpu_us_per_request_median": row.cpu().median, "resident_mib": row.resident_mib,
                "samples": row.samples.iter().map(sample).collect::<Vec<Value>>(),
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        format!("{:#}\n", json!({"about": self.about, "rows": rows}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: &'static str, cpu_us: &[u64]) -> Row {
        let outcome =
            Outcome { requests: 1000, duration_us: 500_000, p50_us: 10.0, p99_us: 90.0, errors: 0 };
        let samples = cpu_us.iter().map(|us| Sample::new(outcome, us * 1_000_000)).collect();
        Row { kind: Kind::Page, target, samples, resident_mib: Some(12.4) }
    }

    #[test]
    fn medians_and_ratios() {
        let rows =
            vec![row(NGINX, &[20, 22, 18]), row(BARE, &[40, 40]), row("warren", &[44, 50, 38, 44])];
        let report = Report { rows, about: "about".to_owned() };
        let cells = report.cells();
        assert_eq!(
            cells[2].join("|"),
            "page|warren|2000 (2000..2000)|10 (10..10)|90 (90..90)|44.0 (38.0..50.0)|1.10|2.20|12"
        );
        assert_eq!(report.markdown().lines().count(), 7);
        assert!(report.table().ends_with("\nabout"));
        let read: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(read["rows"][2]["cpu_us_per_request_median"], 44.0);
    }

    #[test]
    fn no_turns_are_no_panic() {
        let report = Report { rows: vec![Row::new(Kind::Submit, "warren")], about: String::new() };
        assert_eq!((report.errors(), report.cells()[0][6].as_str()), (0, "–"));
    }
}
