//! What sort of thing a statement is, by the names that Trino's resource groups and the Java gateway
//! have for it.

use std::fmt;

/// The sort of a statement, as `queryType` of Trino's resource groups calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Reads.
    Select,
    /// EXPLAIN, also of something that would write.
    Explain,
    /// SHOW and DESCRIBE.
    Describe,
    /// INSERT, CREATE TABLE AS, REFRESH MATERIALIZED VIEW.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
    /// ANALYZE.
    Analyze,
    /// `ALTER TABLE … EXECUTE`.
    AlterTableExecute,
    /// All that defines, and what concerns the session.
    DataDefinition,
}

impl Kind {
    /// The name that Trino has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Explain => "EXPLAIN",
            Self::Describe => "DESCRIBE",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Merge => "MERGE",
            Self::Analyze => "ANALYZE",
            Self::AlterTableExecute => "ALTER_TABLE_EXECUTE",
            Self::DataDefinition => "DATA_DEFINITION",
        }
    }

    /// The sort of a statement of this type.
    pub(super) fn of(statement_type: &str) -> Self {
        match statement_type {
            "Query" => Self::Select,
            "Explain" => Self::Explain,
            "Insert" | "CreateTableAsSelect" | "RefreshMaterializedView" => Self::Insert,
            "Update" => Self::Update,
            "Delete" => Self::Delete,
            "Merge" => Self::Merge,
            "Analyze" => Self::Analyze,
            "TableExecute" => Self::AlterTableExecute,
            "DescribeInput" | "DescribeOutput" => Self::Describe,
            show if show.starts_with("Show") => Self::Describe,
            _ => Self::DataDefinition,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
