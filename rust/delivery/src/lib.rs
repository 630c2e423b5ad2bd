//! N-EVENT-REPORT on associations of its own (PS3.7 10.1.1, PS3.8 9).
//!
//! What two ends agree on ([`negotiation`], [`acceptance`]) makes an association of a connection
//! ([`connection`] over a [`socket`], secure by [`tls`]). One way out: rows become requests ([`requests`]) and go out, as many at a time as the
//! peer takes ([`send`]); what comes in ([`messages`]) is matched with them. One way in: connections are
//! accepted ([`listener`]), events answered ([`receive`]), and kept until they are taken ([`waiting`]) as
//! columns ([`received`]). [`verification`] asks whether a peer is there. There is no Python here.

pub mod acceptance;
pub mod connection;
pub mod failure;
pub mod listener;
pub mod messages;
pub mod negotiation;
pub mod receive;
pub mod received;
pub mod requests;
pub mod send;
pub mod socket;
pub mod tls;
pub mod verification;
pub mod waiting;
