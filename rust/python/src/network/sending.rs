//! Sends batches of events or actions on an association, and records their outcomes.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use fastdimse_core::field::Kind;
use fastdimse_core::rejection::Rejection;
use fastdimse_core::schema_error::SchemaError;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use fastdimse_delivery::association::negotiation::Agreement;
use fastdimse_delivery::failure::Failure;
use fastdimse_delivery::outstanding::{MatchedResponse, Requests};
use fastdimse_delivery::send::requests::{
    EncodedRequests, encode_action_requests, encode_requests,
};
use fastdimse_delivery::send::sender::{Control, Sender};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::input::events::Events;
use crate::input::transfer_syntaxes::transfer_syntax;
use crate::interrupts::{detached, interrupted};
use crate::network::outcomes::OutcomesBuilder;

/// The maximum number of rows that are encoded before they are sent.
const ROWS: usize = 4096;
/// The interval of checks for signals, such as a keyboard interrupt.
const SIGNALS: Duration = Duration::from_millis(100);

/// Request of another thread: send no further events.
pub const STOP_SENDING: u8 = 1;
/// Request of another thread: abort the association.
pub const STOP_AT_ONCE: u8 = 2;

/// The code of an event that was not sent, since the association failed or sending was stopped.
pub const NOT_SENT: &str = "not-sent";
const STOPPED: &str = "sending was stopped";

/// Options of sending.
pub struct SendOptions {
    /// The kind of the requests.
    kind: Kind,
    encoded_in: TransferSyntax,
    conformant_uids: bool,
}

impl SendOptions {
    /// For sending events.
    pub fn new(encoded_in: &str, conformant_uids: bool) -> PyResult<Self> {
        let encoded_in = transfer_syntax(encoded_in)?;
        Ok(Self { kind: Kind::Request, encoded_in, conformant_uids })
    }

    /// For requesting actions.
    pub fn of_actions(encoded_in: &str, conformant_uids: bool) -> PyResult<Self> {
        Ok(Self { kind: Kind::ActionRequest, ..Self::new(encoded_in, conformant_uids)? })
    }

    /// Encodes the rows of a batch as requests; the first row has the number `first_row`.
    pub fn encode(
        &self,
        batch: &RecordBatch,
        rejected: Vec<Rejection>,
        agreement: &Agreement,
        first_row: u64,
    ) -> Result<EncodedRequests, SchemaError> {
        let encode = match self.kind {
            Kind::ActionRequest => encode_action_requests,
            _ => encode_requests,
        };
        encode(batch, rejected, self.encoded_in, agreement, first_row, self.conformant_uids)
    }
}

/// The next rows as requests, and their number; the first row has the number `first_row`. A row of an
/// iterable that cannot be read is rejected.
pub fn next_requests(
    py: Python<'_>,
    events: &mut Events,
    options: &SendOptions,
    agreement: &Agreement,
    first_row: u64,
    max_rows: usize,
) -> PyResult<Option<(EncodedRequests, usize)>> {
    events.next_with(py, max_rows, first_row, |(batch, rejected)| {
        let requests = options.encode(&batch, rejected, agreement, first_row)?;
        Ok((requests, batch.num_rows()))
    })
}

/// Events that are being sent on an association.
pub struct Sending<'a> {
    sender: Box<Sender>,
    stop: StopSignal<'a>,
    outcomes: OutcomesBuilder,
    /// The row of each message.
    rows: Vec<usize>,
    options: &'a SendOptions,
    /// The number of the first row.
    first_row: u64,
    /// Whether another thread stopped the sending.
    stopped: bool,
}

/// Adds the rows of a batch to the outcomes, of which the first has the number `first_row`, and returns
/// the row of each message.
pub fn record(
    requests: &EncodedRequests,
    rows: usize,
    first_row: u64,
    outcomes: &mut OutcomesBuilder,
) -> Vec<usize> {
    let mut rejected = requests.encoded.rejected.iter().peekable();
    let mut ids = requests.message_ids.iter();
    let mut rows_of_messages = Vec::new();
    for _ in 0..rows {
        let row = outcomes.count();
        let number = first_row + row as u64;
        match rejected.next_if(|rejection| rejection.row == Some(number)) {
            Some(rejection) => outcomes.push_rejected(rejection),
            None => {
                rows_of_messages.push(row);
                outcomes.push_message(*ids.next().expect("a message for each good row"));
            }
        }
    }
    rows_of_messages
}

/// The request of another thread, and signals.
pub struct StopSignal<'a> {
    requested: &'a AtomicU8,
    signals_checked: Instant,
}

impl<'a> StopSignal<'a> {
    pub fn new(requested: &'a AtomicU8) -> Self {
        Self { requested, signals_checked: Instant::now() }
    }

    pub fn control(&mut self, now: Instant) -> Control {
        match self.requested.load(Ordering::Relaxed) {
            0 if now - self.signals_checked < SIGNALS => Control::Continue,
            0 => {
                self.signals_checked = now;
                if interrupted() { Control::Cancel } else { Control::Continue }
            }
            STOP_SENDING => Control::StopSending,
            _ => Control::Cancel,
        }
    }
}

impl<'a> Sending<'a> {
    pub fn new(
        sender: Box<Sender>,
        requested: &'a AtomicU8,
        options: &'a SendOptions,
        first_row: u64,
    ) -> Self {
        let stop = StopSignal::new(requested);
        let (outcomes, rows) = (OutcomesBuilder::new(options.kind), Vec::new());
        Self { sender, stop, outcomes, rows, options, first_row, stopped: false }
    }

    pub fn finish(self) -> (Box<Sender>, OutcomesBuilder) {
        (self.sender, self.outcomes)
    }

    /// Sends at most `max_rows` events and waits for their responses. After a failure of the association the
    /// remaining rows of a table get outcomes too; other inputs may be endless.
    ///
    /// If the events raise an exception, the association stays usable: the rows before it get their
    /// outcomes, and the exception is returned with them.
    pub fn send_rows(
        &mut self,
        py: Python<'_>,
        events: &mut Events,
        max_rows: usize,
    ) -> PyResult<(Option<Failure>, Option<PyErr>)> {
        events.reject_rows();
        let (mut failure, raised) = match self.send_batches(py, events, max_rows) {
            Ok(failure) => (failure, None),
            // Anything else, such as an interrupt, shall end the call at once.
            Err(error) if error.is_instance_of::<PyException>(py) => (None, Some(error)),
            Err(error) => return Err(error),
        };
        if failure.is_none() {
            failure = detached(py, || self.wait_for_responses())?;
        }
        let why = failure.as_ref().map(Failure::to_string);
        if let Some(why) = why.or(self.stopped.then(|| STOPPED.to_owned()))
            && events.is_table()
            && raised.is_none()
        {
            self.record_unsent(py, events, max_rows, &why)?;
        }
        Ok((failure, raised))
    }

    fn next(
        &self,
        py: Python<'_>,
        events: &mut Events,
        max_rows: usize,
    ) -> PyResult<Option<(RecordBatch, Vec<Rejection>)>> {
        let count = self.outcomes.count();
        match max_rows - count {
            0 => Ok(None),
            left => events.next(py, left.min(ROWS), self.first_row + count as u64),
        }
    }

    fn send_batches(
        &mut self,
        py: Python<'_>,
        events: &mut Events,
        max_rows: usize,
    ) -> PyResult<Option<Failure>> {
        while !self.stopped && self.outcomes.count() < max_rows {
            let count = self.outcomes.count();
            let (first_row, most) = (self.first_row + count as u64, (max_rows - count).min(ROWS));
            let agreement = self.sender.agreement();
            let next = next_requests(py, events, self.options, agreement, first_row, most)?;
            let Some((requests, rows)) = next else { break };
            if let Some(failure) = detached(py, || self.send_batch(&requests, rows))? {
                return Ok(Some(failure));
            }
        }
        Ok(None)
    }

    /// Sends a batch of `rows` rows.
    fn send_batch(&mut self, requests: &EncodedRequests, rows: usize) -> Option<Failure> {
        let first = self.rows.len();
        self.record_batch(requests, rows);
        let EncodedRequests { encoded, message_ids } = requests;
        let (bytes, offsets) = (&encoded.bytes, &encoded.offsets);
        let (mut sent, mut responses) = (0, Vec::new());
        let requests = Requests { bytes, offsets, message_ids, first: first as u64 };
        let mut control = |now| self.stop.control(now);
        let kind = self.options.kind;
        let result = self.sender.send(requests, kind, &mut sent, &mut responses, &mut control);
        self.record_responses(responses);
        let failure = result.err();
        if let Some(&unsent) = self.rows.get(first + sent) {
            self.stopped = failure.is_none();
            let why = failure.as_ref().map_or(STOPPED.to_owned(), Failure::to_string);
            self.outcomes.fail_from(unsent, NOT_SENT, &why);
        }
        self.record_failure(failure?)
    }

    /// Waits for outstanding responses.
    fn wait_for_responses(&mut self) -> Option<Failure> {
        let mut responses = Vec::new();
        let mut control = |now| self.stop.control(now);
        let result = self.sender.finish(&mut responses, &mut control);
        self.record_responses(responses);
        self.record_failure(result.err()?)
    }

    fn record_responses(&mut self, responses: Vec<MatchedResponse>) {
        for response in responses {
            self.outcomes.set_response(self.rows[response.request as usize], response);
        }
    }

    fn record_failure(&mut self, failure: Failure) -> Option<Failure> {
        self.outcomes.fail_from(0, failure.code(), &failure.to_string());
        Some(failure)
    }

    /// Adds the rows of a batch to the outcomes.
    fn record_batch(&mut self, requests: &EncodedRequests, rows: usize) {
        let first_row = self.first_row;
        self.rows.extend(record(requests, rows, first_row, &mut self.outcomes));
    }

    /// Adds the remaining rows to the outcomes.
    fn record_unsent(
        &mut self,
        py: Python<'_>,
        events: &mut Events,
        max_rows: usize,
        why: &str,
    ) -> PyResult<()> {
        let first = self.outcomes.count();
        while let Some((batch, _)) = self.next(py, events, max_rows)? {
            (0..batch.num_rows()).for_each(|_| self.outcomes.push_unsent());
        }
        self.outcomes.fail_from(first, NOT_SENT, why);
        Ok(())
    }
}
