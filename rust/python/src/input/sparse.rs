//! Sparse columns: the values that are present, each with its row.

/// One value for each row, from the present values and their rows in ascending order.
pub fn dense<T>(
    rows: usize,
    present: impl IntoIterator<Item = (usize, T)>,
) -> impl Iterator<Item = Option<T>> {
    let mut present = present.into_iter().peekable();
    (0..rows).map(move |row| present.next_if(|(place, _)| *place == row).map(|(_, value)| value))
}
