//! Associations: the agreed parameters (PS3.7 D.3, PS3.8 7.1 and 9.3.2 to 9.3.4).
//!
//! In: the options of the local side, or the A-ASSOCIATE PDU of the peer.
//! Out: the A-ASSOCIATE PDU of the local side, and the accepted presentation contexts, roles, PDU
//! length and operations window.

pub mod acceptance;
pub mod negotiation;
pub mod request;
