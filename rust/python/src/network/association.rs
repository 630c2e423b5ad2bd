//! Associations on which events are sent.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use fastdimse_delivery::association::negotiation::Agreement;
use fastdimse_delivery::failure::Failure;
use fastdimse_delivery::send::sender::Sender;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::Error;
use crate::input::events::{Events, RemainingEvents};
use crate::input::options::batch_size;
use crate::interrupts::detached;
use crate::network::outcomes::Outcomes;
use crate::network::sending::{AcceptorOptions, LEAVE, SEND_NO_MORE, Sending};

enum State {
    Open(Box<Sender>),
    /// A thread works with it.
    Busy,
    Closed(&'static str),
}

/// An association on which this end sends events.
///
/// Attributes
/// ----------
/// transfer_syntaxes : dict of str to str
///     What the peer accepted: SOP classes, and the transfer syntaxes of their data sets.
/// rejected_contexts : dict of str to str
///     What it did not accept: SOP classes, and why.
/// window : int
///     How many events may be unanswered at a time.
/// max_pdu_length : int
///     The longest PDU that the peer takes, 0 for any.
/// unexpected_responses : list of str
///     What the peer sent that answers no event: responses with Message IDs that were not
///     outstanding, and messages of other kinds; the first thousand of them.
#[pyclass(frozen, module = "fastdimse")]
pub struct Association {
    state: Mutex<State>,
    agreement: Agreement,
    unexpected_responses: Mutex<Vec<Box<str>>>,
    orders: AtomicU8,
}

impl Association {
    pub fn of(sender: Sender) -> Self {
        let agreement = sender.agreement().clone();
        let state = Mutex::new(State::Open(Box::new(sender)));
        Self {
            state,
            agreement,
            unexpected_responses: Mutex::default(),
            orders: AtomicU8::default(),
        }
    }

    /// Sends at most so many events, of which the first has this row, and says what became of them.
    fn send_some(
        &self,
        py: Python<'_>,
        events: &mut Events,
        terms: &AcceptorOptions,
        first_row: u64,
        most: usize,
    ) -> PyResult<Outcomes> {
        let mut sending = Sending::new(self.take()?, &self.orders, terms, first_row);
        let done = sending.some(py, events, most);
        let (sender, outcomes) = sending.finish();
        let mut known =
            self.unexpected_responses.lock().expect("nothing panics while it is locked");
        let before = known.len();
        known.extend_from_slice(&sender.unexpected_responses()[before..]);
        drop(known);
        match done {
            Ok(None) => {
                self.set(State::Open(sender));
                Ok(outcomes.finish(None))
            }
            Ok(Some(failure)) => {
                self.set(State::Closed("lost"));
                detached(py, || sender.fail(&failure))?;
                Ok(outcomes.finish(Some(failure.to_string())))
            }
            // What was sent may be unanswered: nobody could tell its answers from later ones.
            Err(error) => {
                self.set(State::Closed("aborted, since its events could not be read"));
                // Who interrupts this too gets to know what they interrupt: it is the later exception.
                detached(py, || sender.fail(&Failure::Interrupted))?;
                Err(error)
            }
        }
    }

    /// Takes the association out of the object for a while.
    fn take(&self) -> PyResult<Box<Sender>> {
        let mut state = self.state.lock().expect("nothing panics while it is locked");
        match std::mem::replace(&mut *state, State::Busy) {
            State::Open(sender) => Ok(sender),
            State::Busy => Err(PyRuntimeError::new_err("another thread uses the association")),
            State::Closed(why) => {
                *state = State::Closed(why);
                Err(PyRuntimeError::new_err(format!("the association is {why}")))
            }
        }
    }

    fn set(&self, state: State) {
        *self.state.lock().expect("nothing panics while it is locked") = state;
    }
}

#[pymethods]
impl Association {
    #[getter]
    fn transfer_syntaxes(&self) -> BTreeMap<&str, &'static str> {
        let contexts = self.agreement.contexts.iter();
        contexts.map(|(uid, context)| (uid.as_str(), context.transfer_syntax.uid())).collect()
    }

    #[getter]
    fn rejected_contexts(&self) -> BTreeMap<&str, &'static str> {
        self.agreement.refused.iter().map(|(uid, why)| (uid.as_str(), *why)).collect()
    }

    #[getter]
    fn window(&self) -> u16 {
        self.agreement.window
    }

    #[getter]
    fn max_pdu_length(&self) -> u32 {
        self.agreement.max_pdu_length
    }

    #[getter]
    fn unexpected_responses(&self) -> Vec<String> {
        let unexpected_responses =
            self.unexpected_responses.lock().expect("nothing panics while it is locked");
        unexpected_responses.iter().map(|stray| stray.to_string()).collect()
    }

    /// Send events and wait for their answers.
    ///
    /// Parameters
    /// ----------
    /// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
    ///     As for :func:`encode_events`, requests only. Each goes out on the presentation context of
    ///     its SOP class; *PresentationContextID* does not count.
    /// transfer_syntax : str, optional
    ///     The UID of the transfer syntax of data sets that are bytes. Where the peer accepted another
    ///     one such an event is not sent; data sets given by their attributes are encoded in what it
    ///     accepted.
    /// enforce_uid_conformance : bool, optional
    ///     As for :func:`encode_events`.
    ///
    /// Returns
    /// -------
    /// Outcomes
    ///     What became of each event. A failure of the association is told there, and closes it; of an
    ///     iterable what is behind it is not read then.
    ///
    /// Raises
    /// ------
    /// ColumnError, TypeError
    ///     As :func:`encode_events`, if columns or their types don't fit. Rows that can't be encoded
    ///     are told in the outcomes.
    #[pyo3(signature = (
        events, *, transfer_syntax = "1.2.840.10008.1.2", enforce_uid_conformance = true,
    ))]
    fn send(
        &self,
        py: Python<'_>,
        events: &Bound<'_, PyAny>,
        transfer_syntax: &str,
        enforce_uid_conformance: bool,
    ) -> PyResult<Outcomes> {
        let terms = AcceptorOptions::of(transfer_syntax, enforce_uid_conformance)?;
        self.send_some(py, &mut Events::of(events)?, &terms, 0, usize::MAX)
    }

    /// Send events of an endless stream, a batch of them at a time.
    ///
    /// Parameters
    /// ----------
    /// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
    ///     As for :meth:`send`.
    /// batch_size : int, optional
    ///     How many events to take before they are sent, 1 and more. With 1 each is sent when it comes.
    /// transfer_syntax : str, optional
    ///     As for :meth:`send`.
    /// enforce_uid_conformance : bool, optional
    ///     As for :meth:`send`.
    ///
    /// Returns
    /// -------
    /// iterator of Outcomes
    ///     Those of a batch, when all of it is answered. The one in which the association failed is the
    ///     last.
    ///
    /// Examples
    /// --------
    /// >>> from fastdimse import connect, listen
    /// >>> events = (
    /// ...     {
    /// ...         "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    /// ...         "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    /// ...         "EventTypeID": event_type,
    /// ...     }
    /// ...     for event_type in (1, 2, 1)
    /// ... )
    /// >>> with listen(0, host="localhost") as listener:
    /// ...     with connect("localhost", listener.port) as association:
    /// ...         for outcomes in association.send_batches(events, batch_size=2):
    /// ...             print(outcomes)
    /// <Outcomes: 2 events, 2 answered>
    /// <Outcomes: 1 event, 1 answered>
    #[pyo3(signature = (
        events, *, batch_size = 4096, transfer_syntax = "1.2.840.10008.1.2",
        enforce_uid_conformance = true,
    ))]
    fn send_batches(
        slf: Bound<'_, Self>,
        events: &Bound<'_, PyAny>,
        batch_size: usize,
        transfer_syntax: &str,
        enforce_uid_conformance: bool,
    ) -> PyResult<OutcomeBatches> {
        let batch_size = self::batch_size(batch_size)?;
        let events = RemainingEvents::new(Events::of(events)?);
        let terms = AcceptorOptions::of(transfer_syntax, enforce_uid_conformance)?;
        Ok(OutcomeBatches { association: slf.unbind(), events, batch_size, terms })
    }

    /// Let who sends on this association send no more: another thread can call it.
    ///
    /// What was sent is still waited for, and the association stays open; events behind it have the
    /// outcome ``not-sent``, now and later.
    ///
    /// Parameters
    /// ----------
    /// at_once : bool, optional
    ///     Wait for nothing: the association is aborted.
    #[pyo3(signature = (*, at_once = false))]
    fn stop(&self, at_once: bool) {
        self.orders.store(if at_once { LEAVE } else { SEND_NO_MORE }, Ordering::Relaxed);
    }

    /// Release the association.
    ///
    /// Raises
    /// ------
    /// AssociationError
    ///     If the peer does not agree.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let sender = self.take()?;
        self.set(State::Closed("released"));
        Ok(detached(py, || sender.release())?.map_err(Error::Association)?)
    }

    /// Abort the association.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        let sender = self.take()?;
        self.set(State::Closed("aborted"));
        detached(py, || sender.abort())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Releases it, or aborts it where an exception leaves the block.
    #[pyo3(signature = (*exception))]
    fn __exit__(&self, py: Python<'_>, exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        let is_open = matches!(
            *self.state.lock().expect("nothing panics while it is locked"),
            State::Open(_)
        );
        match (is_open, exception.get_item(0)?.is_none()) {
            (true, true) => self.release(py),
            (true, false) => self.abort(py),
            (false, _) => Ok(()),
        }
    }

    fn __repr__(&self) -> String {
        let state = match &*self.state.lock().expect("nothing panics while it is locked") {
            State::Open(_) => "open",
            State::Busy => "in use",
            State::Closed(why) => why,
        };
        let classes = match self.agreement.contexts.len() {
            1 => "1 SOP class".to_owned(),
            count => format!("{count} SOP classes"),
        };
        format!("<Association: {state}, {classes}, window {}>", self.agreement.window)
    }
}

/// The outcomes of events that are sent a batch at a time: an iterator of :class:`Outcomes`.
#[pyclass(frozen, module = "fastdimse")]
pub struct OutcomeBatches {
    association: Py<Association>,
    events: RemainingEvents,
    batch_size: usize,
    terms: AcceptorOptions,
}

#[pymethods]
impl OutcomeBatches {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Outcomes>> {
        let Some((mut events, first_row)) = self.events.take() else { return Ok(None) };
        let association = self.association.get();
        let outcomes =
            association.send_some(py, &mut events, &self.terms, first_row, self.batch_size)?;
        let count = outcomes.count() as u64;
        if count == 0 {
            return Ok(None);
        }
        if !outcomes.failed() {
            self.events.put_back(events, first_row + count);
        }
        Ok(Some(outcomes))
    }
}
