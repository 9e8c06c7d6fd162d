//! Texts in aligned columns. Pure.

/// Rows below a head. Each row has as many cells as the head.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned)] }
    }

    pub(super) fn push(&mut self, row: [String; N]) {
        self.rows.push(row.map(|cell| plain(&cell)));
    }

    /// The table as text. Columns of numbers stand right; no line ends in a space.
    pub(super) fn render(&self) -> String {
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let right: [bool; N] = std::array::from_fn(|column| {
            self.rows.iter().skip(1).all(|row| is_number(&row[column]))
        });
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[column] - cell.chars().count());
                let (before, after) = if right[column] { (&*gap, "") } else { ("", &*gap) };
                line.push_str(&[before, cell, after, "  "].concat());
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text without what could steer a terminal: what others sent is shown, never obeyed.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What a cell shows where there is no value. A missing signal is missing, never 0.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_escapes_are_not_obeyed() {
        let mut table = Table::new(["NAME", "LOAD", "WHY"]);
        table.push(["bi-blue".to_owned(), or_dash(Some(12)), String::new()]);
        table.push(["ä".to_owned(), or_dash(None::<u32>), "\u{1b}[2J".to_owned()]);
        expect_test::expect![[r#"
            NAME     LOAD  WHY
            bi-blue    12
            ä           -  �[2J
        "#]]
        .assert_eq(&table.render());
    }
}
