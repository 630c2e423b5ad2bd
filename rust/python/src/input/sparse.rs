//! Sparse columns: the values that are present, each with its row.

/// A value for each of so many rows, of those that there are with their places.
pub fn dense<T>(
    rows: usize,
    present: impl IntoIterator<Item = (usize, T)>,
) -> impl Iterator<Item = Option<T>> {
    let mut present = present.into_iter().peekable();
    (0..rows).map(move |row| present.next_if(|(place, _)| *place == row).map(|(_, value)| value))
}
