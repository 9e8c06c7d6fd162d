//! What differs between two texts, line by line, in the form of `diff -u`. Pure.

use std::fmt::Write as _;
use std::ops::Range;

/// How many lines around a change are shown.
const AROUND: usize = 3;
/// The most pairs of lines that are compared: 16 MiB of a table. Beyond that all lines between the
/// first and the last difference count as exchanged.
const PAIRS_MAX: usize = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// What leads from `old` to `new`, under these names; empty if nothing does.
pub(super) fn unified((old_name, old): (&str, &str), (new_name, new): (&str, &str)) -> String {
    let lines = compared(&lines_of(old), &lines_of(new));
    let hunks = hunks(&lines);
    if hunks.is_empty() {
        return String::new();
    }
    let mut text = format!("--- {old_name}\n+++ {new_name}\n");
    for hunk in hunks {
        let before = &lines[..hunk.start];
        let lines = &lines[hunk];
        let (old_at, new_at) = (count_old(before), count_new(before));
        let (old_count, new_count) = (count_old(lines), count_new(lines));
        // A place before the first line is line 0.
        let from = |at, count| if count == 0 { at } else { at + 1 };
        let (old_at, new_at) = (from(old_at, old_count), from(new_at, new_count));
        // Writing into a text does not fail.
        let _ = writeln!(text, "@@ -{old_at},{old_count} +{new_at},{new_count} @@");
        for line in lines {
            let (mark, line) = match line {
                Line::Same(line) => (' ', line),
                Line::Gone(line) => ('-', line),
                Line::New(line) => ('+', line),
            };
            let _ = writeln!(text, "{mark}{line}");
        }
    }
    text
}

fn lines_of(text: &str) -> Vec<&str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() { Vec::new() } else { text.split('\n').collect() }
}

fn count_old(lines: &[Line<'_>]) -> usize {
    lines.iter().filter(|line| !matches!(line, Line::New(_))).count()
}

fn count_new(lines: &[Line<'_>]) -> usize {
    lines.iter().filter(|line| !matches!(line, Line::Gone(_))).count()
}

fn compared<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let alike = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (head, old) = old.split_at(alike);
    let new = &new[alike..];
    let alike = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, tail) = old.split_at(old.len() - alike);
    let new = &new[..new.len() - alike];
    let mut lines: Vec<_> = head.iter().copied().map(Line::Same).collect();
    lines.extend(between(old, new));
    lines.extend(tail.iter().copied().map(Line::Same));
    lines
}

/// Keeps as many lines as can be kept in their order.
fn between<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let width = new.len() + 1;
    if old.len().saturating_mul(width) > PAIRS_MAX {
        let gone = old.iter().copied().map(Line::Gone);
        return gone.chain(new.iter().copied().map(Line::New)).collect();
    }
    // How many lines can be kept of those from here on.
    let mut kept = vec![0_u32; (old.len() + 1) * width];
    for at in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            let here = at * width + to;
            kept[here] = if old[at] == new[to] {
                kept[here + width + 1] + 1
            } else {
                kept[here + width].max(kept[here + 1])
            };
        }
    }
    let (mut at, mut to) = (0, 0);
    let mut lines = Vec::with_capacity(old.len() + new.len());
    while at < old.len() || to < new.len() {
        let here = at * width + to;
        if at < old.len() && to < new.len() && old[at] == new[to] {
            lines.push(Line::Same(old[at]));
            (at, to) = (at + 1, to + 1);
        } else if at < old.len() && (to == new.len() || kept[here + width] >= kept[here + 1]) {
            lines.push(Line::Gone(old[at]));
            at += 1;
        } else {
            lines.push(Line::New(new[to]));
            to += 1;
        }
    }
    lines
}

/// The parts that hold changes, with what is around them.
fn hunks(lines: &[Line<'_>]) -> Vec<Range<usize>> {
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        if matches!(line, Line::Same(_)) {
            continue;
        }
        let end = (place + 1 + AROUND).min(lines.len());
        let start = place.saturating_sub(AROUND);
        match hunks.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(old: &str, new: &str, expected: Expect) {
        expected.assert_eq(&unified(("a", old), ("b", new)));
    }

    #[test]
    fn what_changed_is_shown_with_what_is_around_it() {
        check("", "", expect![""]);
        check("1\n2\n", "1\n2\n", expect![""]);
        check(
            "",
            "1\n",
            expect![[r#"
                --- a
                +++ b
                @@ -0,0 +1,1 @@
                +1
            "#]],
        );
        check(
            "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n",
            "1\nzwei\n3\n4\n5\n6\n7\n8\n9\n10\n12\n12a\n13\n",
            expect![[r#"
                --- a
                +++ b
                @@ -1,5 +1,5 @@
                 1
                -2
                +zwei
                 3
                 4
                 5
                @@ -8,6 +8,6 @@
                 8
                 9
                 10
                -11
                 12
                +12a
                 13
            "#]],
        );
    }

    #[test]
    fn what_is_too_much_to_compare_is_exchanged() {
        let text = |mark: &str| -> String {
            (0..3000).map(|line| format!("{mark}{line}\n")).collect::<String>()
        };
        let shown = unified(("a", &text("x")), ("b", &text("y")));
        assert_eq!(shown.lines().count(), 3 + 6000);
    }

    proptest::proptest! {
        /// Whoever applies what is shown to the old text gets the new one.
        #[test]
        fn nothing_is_lost(old in "([abc]\n){0,9}", new in "([abc]\n){0,9}") {
            let (old, new) = (lines_of(&old), lines_of(&new));
            let lines = compared(&old, &new);
            let of = |skip: fn(&Line<'_>) -> bool| -> Vec<&str> {
                let kept = lines.iter().filter(|line| !skip(line));
                kept.map(|(Line::Same(line) | Line::Gone(line) | Line::New(line))| *line).collect()
            };
            proptest::prop_assert_eq!(of(|line| matches!(line, Line::New(_))), old);
            proptest::prop_assert_eq!(of(|line| matches!(line, Line::Gone(_))), new);
        }
    }
}
