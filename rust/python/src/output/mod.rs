//! Parts that the classes of results share: sequences, the buffer protocol, Arrow export, pickles.
//!
//! In: Arrow arrays and buffers that the core produced, rejections and faults.
//! Out: Python objects that share that memory: `memoryview`, Arrow C Data Interface capsules,
//! sequences.

pub mod arrow;
pub mod buffer;
pub mod encoded_capture;
pub mod encoded_events;
pub mod offsets;
pub mod pickle;
pub mod rejections;
pub mod sequence;
pub mod table;
