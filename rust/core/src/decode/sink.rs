//! What receives decoded events.

use crate::decode::row::{Row, Span};
use crate::decode::template::SimilarMessage;
use crate::pdu::read::Pdv;

/// Receives the events of a stream.
pub trait EventSink {
    /// The bytes of a span.
    fn bytes(&self, span: Span) -> &[u8];

    /// Adds a fragment to the fragments before it.
    fn join(&mut self, before: Option<Span>, pdv: &Pdv<'_>) -> Span;

    /// The text of a span as UTF-8.
    fn text(&mut self, span: Span) -> Span;

    /// The number of events so far.
    fn rows(&self) -> usize;

    /// Adds an event. Returns whether [`EventSink::flush`] must be called.
    fn push(&mut self, row: &Row, data_set: Option<Span>) -> bool;

    /// Adds an event whose message has the layout of an earlier one, as [`EventSink::push`].
    #[inline(always)]
    fn push_similar(&mut self, message: &SimilarMessage<'_>) -> bool {
        self.push(&message.row(), message.data_set())
    }

    /// Makes room for more events, of which there may be `total`.
    fn flush(&mut self, total: usize);
}
