//! How long the texts of an event may be. Pure.
//!
//! Promises that an event that went through [`fit`] fits its frame in the journal and its row in
//! every store: the sizes here are the sizes of the columns in `store/migrations`. A size counts
//! bytes, and a text is cut where a character ends, so a column of as many characters holds it.

use crate::history::record::Event;

/// Bytes of a rule's name, a user, a source, an actor and an error's name.
pub const LABEL_BYTES: usize = 255;
/// Bytes of the client tags and of the reason of a change.
pub const LINE_BYTES: usize = 1024;
/// Bytes of a statement: what a `TEXT` column of MySQL holds.
pub const STATEMENT_BYTES: usize = 65_535;
/// Bytes of a query's state, such as `FINISHED`.
pub const STATE_BYTES: usize = 32;

/// Cuts every text of the event to the size of its column.
pub fn fit(event: &mut Event) {
    match event {
        Event::Submitted(submission) => {
            cut_option(&mut submission.rule, LABEL_BYTES);
            cut_option(&mut submission.user, LABEL_BYTES);
            cut_option(&mut submission.source, LABEL_BYTES);
            cut_option(&mut submission.tags, LINE_BYTES);
            cut(&mut submission.statement, STATEMENT_BYTES);
            if let Some(request) = &mut submission.request {
                request.fit();
            }
        }
        Event::Ended(ending) => {
            cut_option(&mut ending.state, STATE_BYTES);
            cut_option(&mut ending.error, LABEL_BYTES);
        }
        Event::Coordinator(_) => {}
    }
}

/// Cuts a text to at most `bytes`, at the end of a character.
pub fn cut(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}

fn cut_option(text: &mut Option<String>, bytes: usize) {
    if let Some(text) = text {
        cut(text, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        for (text, bytes, expected) in
            [("abc", 3, "abc"), ("abc", 2, "ab"), ("aä", 2, "a"), ("😀", 3, ""), ("", 0, "")]
        {
            let mut owned = text.to_owned();
            cut(&mut owned, bytes);
            assert_eq!(owned, expected, "{text} {bytes}");
        }
    }
}
