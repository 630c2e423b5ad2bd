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
use crate::input::event_columns::sent;
use crate::input::events::{Events, RemainingEvents};
use crate::input::options::{batch_size, other_columns};
use crate::interrupts::detached;
use crate::network::outcomes::Outcomes;
use crate::network::sending::{STOP_AT_ONCE, STOP_SENDING, SendOptions, Sending};

enum State {
    Open(Box<Sender>),
    /// A thread is using the association.
    Busy,
    Closed(&'static str),
}

/// An association on which events are sent, established by :func:`connect`.
///
/// Attributes
/// ----------
/// transfer_syntaxes : dict of str to str
///     The accepted SOP classes, each with the transfer syntax of its data sets.
/// rejected_contexts : dict of str to str
///     The rejected SOP classes, each with the reason.
/// window : int
///     The negotiated maximum number of outstanding events; 0 for no limit.
/// max_pdu_length : int
///     The maximum PDU length of the peer in bytes; 0 for no limit.
/// unexpected_responses : list of str
///     Descriptions of messages other than the response to an outstanding event: responses with
///     another Message ID, and messages of other kinds. The first thousand are kept.
///
/// Examples
/// --------
/// >>> from fastdimse import connect, listen
/// >>> with listen(0, host="localhost") as listener:
/// ...     with connect("localhost", listener.port, window=8) as association:
/// ...         print(association.send({
/// ...             "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
/// ...             "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...             "EventTypeID": [1, 2],
/// ...         }))
/// <Outcomes: 2 events, 2 answered>
#[pyclass(frozen, module = "fastdimse")]
pub struct Association {
    state: Mutex<State>,
    agreement: Agreement,
    unexpected_responses: Mutex<Vec<Box<str>>>,
    stop: AtomicU8,
}

impl Association {
    pub fn new(sender: Sender) -> Self {
        let agreement = sender.agreement().clone();
        let state = Mutex::new(State::Open(Box::new(sender)));
        Self { state, agreement, unexpected_responses: Mutex::default(), stop: AtomicU8::default() }
    }

    /// Sends at most `max_rows` events, of which the first has the number `first_row`, and returns their
    /// outcomes.
    fn send_some(
        &self,
        py: Python<'_>,
        events: &mut Events,
        options: &SendOptions,
        first_row: u64,
        max_rows: usize,
    ) -> PyResult<Outcomes> {
        let mut sending = Sending::new(self.take()?, &self.stop, options, first_row);
        let done = sending.send_rows(py, events, max_rows);
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
            // Outstanding responses could not be told from later ones.
            Err(error) => {
                self.set(State::Closed("aborted, since its events could not be read"));
                // If this is interrupted too, the later exception is raised with the earlier one as its
                // context.
                detached(py, || sender.fail(&Failure::Interrupted))?;
                Err(error)
            }
        }
    }

    /// Takes the sender out of the object while a thread uses it.
    fn take(&self) -> PyResult<Box<Sender>> {
        let mut state = self.state.lock().expect("nothing panics while it is locked");
        match std::mem::replace(&mut *state, State::Busy) {
            State::Open(sender) => Ok(sender),
            State::Busy => Err(PyRuntimeError::new_err("another thread is using the association")),
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
        unexpected_responses.iter().map(|message| message.to_string()).collect()
    }

    /// Send events and wait for their responses.
    ///
    /// Parameters
    /// ----------
    /// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
    ///     As for :func:`encode_events`, requests only. Each is sent in the presentation context of its
    ///     SOP class; *PresentationContextID* is ignored.
    /// transfer_syntax : str, default "1.2.840.10008.1.2"
    ///     The UID of the transfer syntax of encoded data sets in rows without *TransferSyntaxUID*. An event with such a data set is not sent
    ///     if the peer accepted another transfer syntax. Structured data sets are encoded in the accepted
    ///     transfer syntax.
    /// enforce_uid_conformance : bool, default True
    ///     As for :func:`encode_events`.
    /// other_columns : {"raise", "ignore"}, default "raise"
    ///     As for :func:`encode_events`.
    ///
    /// Returns
    /// -------
    /// Outcomes
    ///     The outcome of each event, also of rejected rows. If the association fails, it is closed, and
    ///     the failure is the outcome of the events without a response; the rest of an iterable is not
    ///     read.
    ///
    /// Raises
    /// ------
    /// ColumnError
    ///     If a column is missing or unknown.
    /// TypeError
    ///     If *events*, a column or a value has an unsupported type.
    /// RuntimeError
    ///     If the association is closed, or another thread is using it.
    #[pyo3(signature = (
        events, *, transfer_syntax = "1.2.840.10008.1.2", enforce_uid_conformance = true,
        other_columns = "raise",
    ))]
    fn send(
        &self,
        py: Python<'_>,
        events: &Bound<'_, PyAny>,
        transfer_syntax: &str,
        enforce_uid_conformance: bool,
        other_columns: &str,
    ) -> PyResult<Outcomes> {
        let options = SendOptions::new(transfer_syntax, enforce_uid_conformance)?;
        let accepted = sent(self::other_columns(other_columns)?);
        self.send_some(py, &mut Events::new(events, accepted, 0)?, &options, 0, usize::MAX)
    }

    /// Send events in batches, for example those of an endless stream.
    ///
    /// Parameters
    /// ----------
    /// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
    ///     As for :meth:`send`.
    /// batch_size : int, default 4096
    ///     The number of events to read before they are sent. With 1, each event is sent at once.
    /// transfer_syntax : str, default "1.2.840.10008.1.2"
    ///     As for :meth:`send`.
    /// enforce_uid_conformance : bool, default True
    ///     As for :meth:`send`.
    /// other_columns : {"raise", "ignore"}, default "raise"
    ///     As for :meth:`send`.
    ///
    /// Returns
    /// -------
    /// OutcomeBatches
    ///     An iterator of the :class:`Outcomes` of each batch, which are returned when its last response
    ///     has been received. If the association fails, the outcomes of that batch are the last.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     If *events* has an unsupported type.
    /// ValueError
    ///     If an option has an unsupported value.
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
        enforce_uid_conformance = true, other_columns = "raise",
    ))]
    fn send_batches(
        slf: Bound<'_, Self>,
        events: &Bound<'_, PyAny>,
        batch_size: usize,
        transfer_syntax: &str,
        enforce_uid_conformance: bool,
        other_columns: &str,
    ) -> PyResult<OutcomeBatches> {
        let batch_size = self::batch_size(batch_size)?;
        let accepted = sent(self::other_columns(other_columns)?);
        let events = RemainingEvents::new(Events::new(events, accepted, 0)?);
        let options = SendOptions::new(transfer_syntax, enforce_uid_conformance)?;
        Ok(OutcomeBatches { association: slf.unbind(), events, batch_size, options })
    }

    /// Stop sending events, from another thread than the sending one.
    ///
    /// The sending thread waits for outstanding responses, and the association stays open. The outcome
    /// of every event after that is ``not-sent``, also of later calls.
    ///
    /// Parameters
    /// ----------
    /// at_once : bool, default False
    ///     Abort the association instead of waiting for outstanding responses.
    #[pyo3(signature = (*, at_once = false))]
    fn stop(&self, at_once: bool) {
        self.stop.store(if at_once { STOP_AT_ONCE } else { STOP_SENDING }, Ordering::Relaxed);
    }

    /// Release the association.
    ///
    /// Raises
    /// ------
    /// AssociationError
    ///     If the peer does not confirm the release.
    /// RuntimeError
    ///     If the association is closed, or another thread is using it.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let sender = self.take()?;
        self.set(State::Closed("released"));
        Ok(detached(py, || sender.release())?.map_err(Error::Association)?)
    }

    /// Abort the association.
    ///
    /// Raises
    /// ------
    /// RuntimeError
    ///     If the association is closed, or another thread is using it.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        let sender = self.take()?;
        self.set(State::Closed("aborted"));
        detached(py, || sender.abort())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Release the association, or abort it if the block raised an exception.
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

/// An iterator of :class:`Outcomes`, as returned by :meth:`Association.send_batches`.
#[pyclass(frozen, module = "fastdimse")]
pub struct OutcomeBatches {
    association: Py<Association>,
    events: RemainingEvents,
    batch_size: usize,
    options: SendOptions,
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
            association.send_some(py, &mut events, &self.options, first_row, self.batch_size)?;
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
