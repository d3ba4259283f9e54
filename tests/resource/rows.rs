//! All rows.

mod spec;
mod status;

use crate::row::Row;

/// Every row, each with a name of its own.
pub fn all() -> Vec<Row> {
    let mut rows = spec::rows();
    rows.extend(status::rows());
    let mut names: Vec<_> = rows.iter().map(Row::test_name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "two rows have the same name");
    rows
}
