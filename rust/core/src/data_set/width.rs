//! Finds data sets that are too wide for a shared table.
//!
//! A column has a cell for every data set, or for every item of a sequence, even without a value.
//! The table of data sets with few common attributes would have far more cells than values: it
//! would grow with the square of their size.

use crate::data_set::error::MOST_COLUMNS;
use std::collections::HashMap;
use std::hash::Hash;

/// The number of empty cells that any table may have.
const FREE: usize = 1 << 20;

/// Additional empty cells for each data set.
const FOR_A_DATA_SET: usize = 64;

/// Additional empty cells for each byte of encoded data sets: 32 for the shortest element.
const FOR_A_BYTE: usize = 4;

/// A value that is not encoded counts as 8 bytes, like an element without a value or the header of
/// an item.
const BYTES_OF_A_VALUE: usize = 8;

/// The number of empty cells that a table of encoded data sets may have.
pub fn most_absent(data_sets: usize, bytes: usize) -> usize {
    let of_bytes = bytes.saturating_mul(FOR_A_BYTE);
    data_sets.saturating_mul(FOR_A_DATA_SET).saturating_add(of_bytes).saturating_add(FREE)
}

/// The attributes of data sets, to find the ones that are too wide. `K` identifies an attribute.
#[derive(Debug)]
pub struct Widths<K> {
    /// The column of an attribute, by sequence and attribute.
    places: HashMap<(Items, K), usize>,
    columns: Vec<Column>,
    /// The number of items of each sequence. Sequence 0 is the data sets.
    items: Vec<usize>,
    /// The columns of each data set, one data set after another, and the end of each.
    uses: Vec<u32>,
    ends: Vec<usize>,
    /// The number of values and items.
    values: usize,
}

/// The items of one sequence in all data sets, or the data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Items(u32);

/// An item or a data set.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    of: Items,
    /// Its index.
    number: usize,
}

#[derive(Debug)]
struct Column {
    of: Items,
    /// The numbers of items and of data sets that have it.
    items: usize,
    data_sets: usize,
    /// The last item and the last data set that has it.
    last_item: usize,
    last_data_set: usize,
    /// The items of its sequence, if it is one.
    inner: Option<Items>,
}

impl Column {
    fn new(of: Items) -> Self {
        let none = usize::MAX;
        Self { of, items: 0, data_sets: 0, last_item: none, last_data_set: none, inner: None }
    }
}

impl<K> Default for Widths<K> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            columns: Vec::new(),
            items: vec![0],
            uses: Vec::new(),
            ends: Vec::new(),
            values: 0,
        }
    }
}

impl<K: Hash + Eq> Widths<K> {
    /// Begins the next data set, which may be null.
    pub fn data_set(&mut self) -> Item {
        self.ends.push(self.uses.len());
        self.item(Items(0))
    }

    /// Begins the next item of a sequence.
    pub fn item(&mut self, of: Items) -> Item {
        self.items[of.0 as usize] += 1;
        self.values += 1;
        Item { of, number: self.values }
    }

    /// Adds an attribute to an item or data set, and returns its column.
    pub fn attribute(&mut self, item: Item, attribute: K) -> usize {
        self.values += 1;
        let next = self.columns.len();
        let place = *self.places.entry((item.of, attribute)).or_insert(next);
        if place == next {
            self.columns.push(Column::new(item.of));
        }
        let column = &mut self.columns[place];
        if column.last_item != item.number {
            column.last_item = item.number;
            column.items += 1;
        }
        let data_set = self.ends.len() - 1;
        if column.last_data_set != data_set {
            column.last_data_set = data_set;
            column.data_sets += 1;
            self.uses.push(place as u32);
        }
        place
    }

    /// The items of the sequence of a column.
    pub fn items_of(&mut self, column: usize) -> Items {
        let next = Items(self.items.len() as u32);
        let items = *self.columns[column].inner.get_or_insert(next);
        if items == next {
            self.items.push(0);
        }
        items
    }

    /// The data sets that are too wide for a table with at most `most_absent` empty cells, in
    /// order, each with its number of columns.
    ///
    /// Data sets whose attributes most others have stay, those with fewer attributes first. A data
    /// set with many attributes that no other has therefore displaces no other.
    pub fn too_wide(&self, most_absent: usize) -> Vec<(usize, usize)> {
        let mut taken = vec![false; self.columns.len()];
        let (mut columns, mut absent) = (0, 0_usize);
        let mut too_wide = Vec::new();
        for data_set in self.in_order() {
            let uses = self.uses_of(data_set);
            let new = uses.iter().map(|&column| column as usize).filter(|&column| !taken[column]);
            let (added, costs) =
                new.fold((0, 0), |(added, costs), column| (added + 1, costs + self.absent(column)));
            if columns + added > MOST_COLUMNS || absent.saturating_add(costs) > most_absent {
                too_wide.push((data_set, uses.len()));
                continue;
            }
            (columns, absent) = (columns + added, absent + costs);
            uses.iter().for_each(|&column| taken[column as usize] = true);
        }
        too_wide.sort_unstable();
        too_wide
    }

    /// As [`Widths::too_wide`], for data sets that are not encoded.
    pub fn too_wide_to_encode(&self) -> Vec<(usize, usize)> {
        self.too_wide(most_absent(self.ends.len(), self.values * BYTES_OF_A_VALUE))
    }

    fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.ends.len()).collect();
        order.sort_by_cached_key(|&data_set| {
            let uses = self.uses_of(data_set);
            let found_in = uses.iter().map(|&column| self.columns[column as usize].data_sets);
            (std::cmp::Reverse(found_in.min()), uses.len())
        });
        order
    }

    fn uses_of(&self, data_set: usize) -> &[u32] {
        let end = self.ends.get(data_set + 1).copied().unwrap_or(self.uses.len());
        &self.uses[self.ends[data_set]..end]
    }

    fn absent(&self, column: usize) -> usize {
        let column = &self.columns[column];
        self.items[column.of.0 as usize] - column.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The indices of the too wide data sets, given the attributes of each.
    fn too_wide(data_sets: &[Vec<u32>], most_absent: usize) -> Vec<usize> {
        let mut widths = Widths::default();
        for attributes in data_sets {
            let data_set = widths.data_set();
            for &attribute in attributes {
                widths.attribute(data_set, attribute);
            }
        }
        widths.too_wide(most_absent).into_iter().map(|(data_set, _)| data_set).collect()
    }

    #[test]
    fn common_attributes_cost_nothing() {
        let dense = vec![(0..100).collect::<Vec<u32>>(); 50];
        assert!(too_wide(&dense, 0).is_empty());
        // A repeated attribute does not fill the cell of another.
        assert_eq!(too_wide(&[vec![1, 1], vec![2]], 1), [1]);
    }

    #[test]
    fn a_wide_data_set_displaces_no_other() {
        let mut data_sets = vec![vec![0]; 10];
        data_sets.insert(0, (0..100).collect());
        assert_eq!(too_wide(&data_sets, 100), [0]);
        assert!(too_wide(&data_sets, 99 * 10).is_empty());
        // Many data sets without a common attribute are too wide as well.
        let mut data_sets: Vec<Vec<u32>> = (10..60).map(|attribute| vec![attribute]).collect();
        data_sets.extend([vec![0, 1, 2], vec![0, 1, 2]]);
        let found = too_wide(&data_sets, 3 * 50);
        assert_eq!(found, (0..50).collect::<Vec<_>>());
        // The first ones fit.
        assert_eq!(too_wide(&data_sets, 3 * 50 + 2 * 51), (2..50).collect::<Vec<_>>());
    }

    #[test]
    fn items_have_cells_of_their_own() {
        let mut widths = Widths::default();
        let data_set = widths.data_set();
        let sequence = widths.attribute(data_set, 0);
        let items = widths.items_of(sequence);
        for attribute in 1..=10 {
            let item = widths.item(items);
            widths.attribute(item, attribute);
        }
        assert_eq!(widths.too_wide(89), [(0, 11)]);
        assert!(widths.too_wide(90).is_empty());
    }

    #[test]
    fn the_number_of_columns_is_limited() {
        let most: Vec<u32> = (0..MOST_COLUMNS as u32).collect();
        let more: Vec<u32> = (0..=MOST_COLUMNS as u32).collect();
        assert_eq!(too_wide(&[more], usize::MAX), [0]);
        assert!(too_wide(&[most], usize::MAX).is_empty());
    }
}
