//! What is left at a cluster that is to end. Pure.
//!
//! Nothing is left only if everybody says so: this gateway, the coordinator's own list, which has the
//! queries that came past the gateways too, and the store, which knows what other gateways brought
//! and which of it has not begun. Open transactions and unread segments keep a cluster too.

/// What is left at a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Whether its coordinator is gone, and all that it had with it.
    pub gone: bool,
    /// Live queries that this gateway knows.
    pub owned: u32,
    /// Submits on their way, and queries by the list or brought since.
    pub load: u32,
    /// Queries in a list that began after new queries had ended to come; `None`: there is none yet.
    pub listed: Option<u32>,
    /// Queries that any gateway brought and nobody saw end; `None`: not known.
    pub open: Option<u32>,
    /// Transactions that are open.
    pub transactions: u32,
    /// Spooled segments that nobody has fetched and acknowledged.
    pub segments: u32,
    /// Processes of other gateways that have not said what they know of these two.
    pub untold: u32,
}

impl Left {
    /// Whether the cluster may be stopped.
    pub fn is_nothing(&self) -> bool {
        let beside = [self.transactions, self.segments, self.untold];
        self.gone || (self.has_no_query() && beside == [0; 3])
    }

    /// Whether everybody says that no query is left.
    pub fn has_no_query(&self) -> bool {
        let Self { owned, load, listed, open, .. } = *self;
        (listed, open, owned, load) == (Some(0), Some(0), 0, 0)
    }

    /// How many queries there are at least.
    pub fn queries(&self) -> u32 {
        let told = [self.listed, self.open, Some(self.owned), Some(self.load)];
        told.into_iter().flatten().max().unwrap_or(0)
    }

    /// What is left, in words.
    pub fn in_words(&self) -> String {
        if self.gone {
            return "its coordinator is gone".to_owned();
        }
        let mut words = Vec::new();
        let mut tell = |count: u32, one: &str, many: &str| match count {
            0 => {}
            1 => words.push(format!("1 {one}")),
            _ => words.push(format!("{count} {many}")),
        };
        tell(self.queries(), "query", "queries");
        tell(self.transactions, "open transaction", "open transactions");
        tell(self.segments, "spooled segment", "spooled segments");
        if words.is_empty() {
            words.push(match (self.listed, self.open) {
                (None, _) => "its own list is not known".to_owned(),
                (_, None) => "the store does not tell what is open".to_owned(),
                _ if self.untold > 0 => "another gateway has not told what is open".to_owned(),
                _ => "nothing".to_owned(),
            });
        }
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Left = Left {
        gone: false,
        owned: 0,
        load: 0,
        listed: Some(0),
        open: Some(0),
        transactions: 0,
        segments: 0,
        untold: 0,
    };

    fn check(left: Left, nothing: bool, words: &str) {
        assert_eq!((left.is_nothing(), left.in_words().as_str()), (nothing, words), "{left:?}");
    }

    #[test]
    fn everybody_must_say_that_nothing_is_left() {
        check(NOTHING, true, "nothing");
        check(Left { owned: 1, ..NOTHING }, false, "1 query");
        check(Left { load: 1, ..NOTHING }, false, "1 query");
        check(Left { listed: Some(2), open: Some(1), ..NOTHING }, false, "2 queries");
        check(
            Left { open: Some(3), transactions: 1, ..NOTHING },
            false,
            "3 queries, 1 open transaction",
        );
        check(Left { segments: 2, ..NOTHING }, false, "2 spooled segments");
        check(Left { segments: 1, untold: 1, ..NOTHING }, false, "1 spooled segment");
        check(Left { untold: 1, ..NOTHING }, false, "another gateway has not told what is open");
        check(Left { listed: None, ..NOTHING }, false, "its own list is not known");
        check(Left { open: None, ..NOTHING }, false, "the store does not tell what is open");
        check(
            Left { listed: None, owned: 4, gone: true, ..NOTHING },
            true,
            "its coordinator is gone",
        );
    }
}
