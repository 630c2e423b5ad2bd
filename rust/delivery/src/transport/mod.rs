//! Connections that carry PDUs (PS3.8 9.1 and 9.3, PS3.15 B).
//!
//! In: an address or an accepted socket, the options of TLS, and timeouts.
//! Out: PDUs read and written within their deadlines; a failure otherwise.
//! A connection is plain or secure; the layers above see no difference.

pub mod connection;
pub mod socket;
pub mod tls;
pub mod waker;
