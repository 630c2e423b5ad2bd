//! Protocol data units of the upper layer (PS3.8 9.3).
//!
//! In: command sets and data sets, or the bytes of one direction of an association.
//! Out: P-DATA-TF PDUs with their lengths and PDVs, or the PDVs one by one.
//! The part of A-ASSOCIATE PDUs that captures and negotiation share is here, too.

pub mod associate;
pub mod read;
pub mod write;
