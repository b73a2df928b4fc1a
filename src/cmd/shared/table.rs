//! What people read: a table, as lines with their cells in columns that are as wide as their widest cell.

/// The lines of a table. The rows are made twice, for the widths and for the lines, so that no more than one of them is in
/// memory.
pub(in crate::cmd) fn lines<const N: usize, R: Iterator<Item = [String; N]>>(
    titles: [&str; N],
    rows: impl Fn() -> R,
) -> impl Iterator<Item = String> {
    let mut widths = titles.map(|title| title.chars().count());
    for row in rows() {
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = move |row: [String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    std::iter::once(titles.map(str::to_owned)).chain(rows()).map(line)
}
