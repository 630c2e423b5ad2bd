//! Options that encoding and decoding share.

/// What stands around each command set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// P-DATA-TF PDUs (PS3.8 9.3.5), data sets included.
    PData,
    /// Nothing: command sets one after another, no data sets.
    CommandSet,
}

/// What to do with a row that can't be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// Stop at the first.
    Raise,
    /// Leave it out and go on.
    Skip,
}
