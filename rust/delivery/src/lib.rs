//! N-EVENT-REPORT on associations of its own (PS3.7 10.1.1, PS3.8 9).
//!
//! One way through: what two ends agree on ([`negotiation`]) makes an association of a connection
//! ([`connection`]); rows become requests ([`requests`]) and go out on it, as many at a time as the peer
//! takes ([`send`]), and what comes in ([`messages`]) is matched with them. There is no Python here.

pub mod connection;
pub mod failure;
pub mod messages;
pub mod negotiation;
pub mod requests;
pub mod send;
