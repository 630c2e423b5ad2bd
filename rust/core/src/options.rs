//! Options that encoding and decoding share.

/// The framing of command sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// P-DATA-TF PDUs (PS3.8 9.3.5), data sets included.
    PData,
    /// None: command sets one after another, without data sets.
    CommandSet,
}

/// What to do with an invalid row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// Stop at the first invalid row.
    Raise,
    /// Skip invalid rows.
    Skip,
}
