//! The words of Trino's grammar that the reader goes by, and which of them are reserved.

/// Declares the words; those that are reserved come first.
macro_rules! words {
    (reserved { $($reserved:ident $reserved_text:literal)* } free { $($free:ident $free_text:literal)* }) => {
        /// A word outside of quotes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Word {
            $(#[doc = $reserved_text] $reserved,)*
            $(#[doc = $free_text] $free,)*
            /// Any other: the name of something.
            Other,
        }

        const WORDS: &[(&str, Word)] = &[
            $(($reserved_text, Word::$reserved),)*
            $(($free_text, Word::$free),)*
        ];
    };
}

words! {
    reserved {
        Alter "alter" And "and" As "as" Between "between" By "by" Case "case" Cast "cast"
        Constraint "constraint" Create "create" Cross "cross" Cube "cube"
        CurrentCatalog "current_catalog" CurrentDate "current_date" CurrentPath "current_path"
        CurrentRole "current_role" CurrentSchema "current_schema" CurrentTime "current_time"
        CurrentTimestamp "current_timestamp" CurrentUser "current_user"
        Deallocate "deallocate" Delete "delete" Describe "describe" Distinct "distinct" Drop "drop"
        Else "else" End "end" Escape "escape" Except "except" Execute "execute" Exists "exists"
        Extract "extract" False "false" For "for" From "from" Full "full" Group "group"
        Grouping "grouping" Having "having" In "in" Inner "inner" Insert "insert"
        Intersect "intersect" Into "into" Is "is" Join "join" JsonArray "json_array"
        JsonExists "json_exists" JsonObject "json_object" JsonQuery "json_query"
        JsonTable "json_table" JsonValue "json_value" Left "left" Like "like" Listagg "listagg"
        Localtime "localtime" Localtimestamp "localtimestamp" Natural "natural"
        Normalize "normalize" Not "not" Null "null" On "on" Or "or" Order "order" Outer "outer"
        Prepare "prepare" Recursive "recursive" Right "right" Rollup "rollup" Select "select"
        Table "table" Then "then" Trim "trim" True "true" Uescape "uescape" Union "union"
        Unnest "unnest" Using "using" Values "values" When "when" Where "where" With "with"
    }
    free {
        Add "add" Admin "admin" All "all" Analyze "analyze" Array "array"
        Authorization "authorization" Branch "branch" Branches "branches" Call "call"
        Cascade "cascade" Catalog "catalog" Catalogs "catalogs" Column "column"
        Columns "columns" Comment "comment" Commit "commit" Corresponding "corresponding"
        Current "current" Data "data" Default "default" Deny "deny" Desc "desc"
        Explain "explain" Fast "fast" Fetch "fetch" First "first"
        Function "function" Functions "functions" Grant "grant" Grants "grants"
        If "if" Immediate "immediate" Input "input" Lateral "lateral" Limit "limit"
        Map "map" MatchRecognize "match_recognize" Materialized "materialized" Merge "merge"
        Next "next" No "no" Offset "offset" Ordinality "ordinality" Output "output" Path "path"
        Pattern "pattern" Privileges "privileges" Properties "properties" Refresh "refresh"
        Rename "rename" Replace "replace" Reset "reset" Restrict "restrict" Revoke "revoke"
        Role "role" Roles "roles" Rollback "rollback" Schema "schema" Schemas "schemas"
        Security "security" Session "session" Set "set" Show "show" Start "start" Stats "stats"
        Tables "tables" Tablesample "tablesample" Ties "ties" Time "time" Timestamp "timestamp"
        To "to" Transaction "transaction" Truncate "truncate" Type "type" Update "update"
        Use "use" User "user" Verbose "verbose" Version "version" View "view" Window "window"
        Within "within" Work "work" Zone "zone"
    }
}

impl Word {
    /// The word that a text is, whatever its case.
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Self::Other;
        }
        let mut slot = slot(bytes);
        loop {
            let Some((word, value)) = WORDS.get(usize::from(TABLE[slot])) else {
                return Self::Other;
            };
            if word.eq_ignore_ascii_case(text) {
                return *value;
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// Whether it can be no name unless quoted.
    pub(super) fn is_reserved(self) -> bool {
        (self as usize) <= Self::With as usize
    }
}

/// Places for words: enough that most names find an empty one at once.
const SLOTS: usize = 1024;

/// An empty place.
const EMPTY: u8 = u8::MAX;

/// For each place the number of the word there. A word whose place is taken has the next free one.
const TABLE: [u8; SLOTS] = {
    assert!(WORDS.len() < EMPTY as usize, "a number fits into a byte");
    let mut table = [EMPTY; SLOTS];
    let mut number = 0;
    while number < WORDS.len() {
        let mut slot = slot(WORDS[number].0.as_bytes());
        while table[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = number as u8;
        number += 1;
    }
    table
};

/// The place of a text, by its length, its first, middle and last letter, whatever their case.
const fn slot(text: &[u8]) -> usize {
    let first = text[0] | 0x20;
    let middle = text[text.len() / 2] | 0x20;
    let last = text[text.len() - 1] | 0x20;
    (first as usize * 37 + middle as usize * 131 + last as usize * 7 + text.len() * 613) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_any_case() {
        for (text, word) in WORDS {
            assert_eq!(Word::of(text), *word);
            assert_eq!(Word::of(&text.to_uppercase()), *word);
            assert_eq!(Word::of(&format!("{text}_")), Word::Other);
        }
        for other in ["", "_", "orders", "ü", "select_a_rather_long_name"] {
            assert_eq!(Word::of(other), Word::Other);
        }
    }

    #[test]
    fn only_some_are_reserved() {
        assert!(Word::Alter.is_reserved() && Word::Select.is_reserved());
        assert!(Word::With.is_reserved());
        assert!(!Word::Add.is_reserved() && !Word::Other.is_reserved());
    }
}
