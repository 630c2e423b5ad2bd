//! N-EVENT-REPORT on associations of this crate (PS3.7 10.1.1, PS3.8 9).
//!
//! [`association`] negotiates on connections of [`transport`]. [`send`] sends rows as requests;
//! [`receive`] listens and gives events and actions to a sink. Both assemble [`messages`] from PDVs,
//! match [`outstanding`] requests with their responses, write [`responses`], share [`timeouts`], and
//! fail with a [`failure`]. There is no Python here.

pub mod association;
pub mod failure;
pub mod messages;
pub mod outstanding;
pub mod receive;
pub mod responses;
pub mod send;
pub mod timeouts;
pub mod transport;
