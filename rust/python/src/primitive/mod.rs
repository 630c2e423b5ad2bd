//! One N-EVENT-REPORT or N-ACTION as a Python object: the classes that `N_EVENT_REPORT` and `N_ACTION`
//! derive from (PS3.7 10.1.1 and 10.1.4).
//!
//! In: attributes that Python sets, or the bytes of a command set and its data set.
//! Out: the same attributes with pynetdicom's types and errors, a command set (PS3.7 6.3.1), or
//! P-DATA-TF PDUs (PS3.8 9.3.5).

pub mod action;
pub mod attributes;
pub mod class;
pub mod codec;
pub mod decoded;
pub mod event_report;
pub mod from_columns;
pub mod latin_1;
pub mod message;
pub mod slots;
pub mod stream;
pub mod uid;
