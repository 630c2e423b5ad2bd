//! N-EVENT-REPORT on associations of this crate (PS3.7 10.1.1, PS3.8 9).
//!
//! [`association`] negotiates on connections of [`transport`]. [`send`] sends rows as requests and
//! matches the responses; [`receive`] listens, gives events to a sink and responds. Both assemble
//! [`messages`] from PDVs, share [`timeouts`], and fail with a [`failure`]. There is no Python here.

pub mod association;
pub mod failure;
pub mod messages;
pub mod receive;
pub mod send;
pub mod timeouts;
pub mod transport;
