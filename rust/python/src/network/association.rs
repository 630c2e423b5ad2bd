//! Associations that the local side requests: events are sent, actions are requested, and events of the
//! peer are received.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastdimse_core::field::Kind;
use fastdimse_delivery::association::negotiation::Agreement;
use fastdimse_delivery::failure::Failure;
use fastdimse_delivery::receive::receiver::Origin;
use fastdimse_delivery::send::events_of_peer::WaitingEvent;
use fastdimse_delivery::send::sender::ControlFn;
use fastdimse_delivery::send::sender::Sender;
use fastdimse_delivery::timeouts::Deadline;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::Error;
use crate::input::action_columns::requested;
use crate::input::event_columns::sent;
use crate::input::events::{Events, RemainingEvents};
use crate::input::options::{batch_size, other_columns};
use crate::interrupts::detached;
use crate::network::calls::Callable;
use crate::network::handler::response;
use crate::network::outcomes::Outcomes;
use crate::network::pending_event::PendingEvent;
use crate::network::received_request::ReceivedRequest;
use crate::network::sending::{STOP_AT_ONCE, STOP_SENDING, SendOptions, Sending, StopSignal};

const IN_USE: &str =
    "another thread is using the association, or the call in which this event_handler runs";

enum State {
    Open(Box<Sender>),
    /// A thread is using the association.
    Busy,
    Closed(&'static str),
}

/// An association on which events are sent and actions are requested, established by :func:`connect`.
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
#[pyclass(frozen, weakref, module = "fastdimse")]
pub struct Association {
    state: Mutex<State>,
    agreement: Agreement,
    unexpected_responses: Mutex<Vec<Box<str>>>,
    stop: AtomicU8,
    /// The process that opened it: a forked child must not write on the connection of its parent.
    process: u32,
    /// The event that was returned last, which may have no response yet.
    pending: Mutex<Option<Arc<PendingEvent>>>,
    /// The function that is called with events. The association owns it, so that the garbage collector can
    /// free a reference cycle.
    handler: Option<Callable>,
}

impl Association {
    pub fn new(sender: Sender, handler: Option<Callable>) -> Self {
        let agreement = sender.agreement().clone();
        Self {
            state: Mutex::new(State::Open(Box::new(sender))),
            agreement,
            unexpected_responses: Mutex::default(),
            stop: AtomicU8::default(),
            process: std::process::id(),
            pending: Mutex::default(),
            handler,
        }
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
        let mut sending = Sending::new(self.begin(py)?, &self.stop, options, first_row);
        let done = sending.send_rows(py, events, max_rows);
        let (sender, outcomes) = sending.finish();
        self.keep_unexpected_responses(&sender);
        match done {
            Ok((None, raised)) => {
                self.set(State::Open(sender));
                with_outcomes(py, outcomes.finish(None), raised)
            }
            Ok((Some(failure), raised)) => {
                self.set(State::Closed("lost"));
                detached(py, || sender.fail(&failure))?;
                with_outcomes(py, outcomes.finish(Some(failure.to_string())), raised)
            }
            // Outstanding responses could not be told from later ones.
            Err(error) => {
                self.set(State::Closed("aborted, since the call was interrupted"));
                // If this is interrupted too, the later exception is raised with the earlier one as its
                // context.
                detached(py, || sender.fail(&Failure::Interrupted))?;
                Err(error)
            }
        }
    }

    fn keep_unexpected_responses(&self, sender: &Sender) {
        let mut known =
            self.unexpected_responses.lock().expect("nothing panics while it is locked");
        let before = known.len();
        known.extend_from_slice(&sender.unexpected_responses()[before..]);
    }

    /// Takes the sender to use the association. The event that was returned last is in the hands of the
    /// program now, so it gets its response.
    fn begin(&self, py: Python<'_>) -> PyResult<Box<Sender>> {
        let mut sender = self.take()?;
        let pending = self.pending.lock().expect("nothing panics while it is locked").take();
        let Some(pending) = pending else { return Ok(sender) };
        match py.detach(|| pending.accept(&mut sender)) {
            Ok(()) => Ok(sender),
            Err(failure) => Err(self.lose(py, sender, failure)),
        }
    }

    /// Ends the association after a failure, and returns the exception.
    fn lose(&self, py: Python<'_>, sender: Box<Sender>, failure: Failure) -> PyErr {
        self.set(State::Closed("lost"));
        match detached(py, || sender.fail(&failure)) {
            Ok(()) => Error::Association(failure).into(),
            Err(error) => error,
        }
    }

    /// Uses the association for a short time.
    fn with_sender(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Sender) -> Result<(), Failure> + Send,
    ) -> PyResult<()> {
        let mut sender = self.take()?;
        match py.detach(|| work(&mut sender)) {
            Ok(()) => {
                self.set(State::Open(sender));
                Ok(())
            }
            Err(failure) => Err(self.lose(py, sender, failure)),
        }
    }

    /// Responds to the event that was returned last.
    fn accept_pending(&self, py: Python<'_>) -> PyResult<()> {
        let sender = self.begin(py)?;
        self.set(State::Open(sender));
        Ok(())
    }

    fn set_pending(&self, event: Arc<PendingEvent>) {
        *self.pending.lock().expect("nothing panics while it is locked") = Some(event);
    }

    /// The next event that waits for its response; `None` at the deadline, and if the peer releases the
    /// association.
    fn wait_for_event(
        &self,
        py: Python<'_>,
        deadline: Deadline,
    ) -> PyResult<Option<(WaitingEvent, Arc<Origin>)>> {
        let found = self.wait(py, |sender, control| {
            let event = sender.wait_for_event(deadline, u64::MAX, control)?;
            Ok(event.map(|event| (event, sender.origin().clone())))
        })?;
        Ok(found.flatten())
    }

    /// Waits for events of the peer; `None` if it releases the association.
    fn wait<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Sender, ControlFn<'_>) -> Result<T, Failure> + Send,
    ) -> PyResult<Option<T>> {
        let mut sender = self.begin(py)?;
        let mut stop = StopSignal::new(&self.stop);
        let done = detached(py, || work(&mut sender, &mut |now| stop.control(now)));
        self.keep_unexpected_responses(&sender);
        match done {
            Ok(Ok(found)) => {
                self.set(State::Open(sender));
                Ok(Some(found))
            }
            Ok(Err(failure @ Failure::Released)) => {
                self.set(State::Closed("released by the peer"));
                detached(py, || sender.fail(&failure))?;
                Ok(None)
            }
            Ok(Err(failure)) => Err(self.lose(py, sender, failure)),
            // A signal handler or the event handler raised an exception: nothing is lost.
            Err(error) => {
                self.set(State::Open(sender));
                Err(error)
            }
        }
    }

    /// Takes the sender out of the object while a thread uses it.
    fn take(&self) -> PyResult<Box<Sender>> {
        // Before the lock, which a thread of the parent process may have held.
        if self.process != std::process::id() {
            return Err(PyRuntimeError::new_err(format!(
                "the association belongs to process {}, which forked this one: open another one here",
                self.process
            )));
        }
        let mut state = self.state.lock().expect("nothing panics while it is locked");
        match std::mem::replace(&mut *state, State::Busy) {
            State::Open(sender) => Ok(sender),
            State::Busy => Err(PyRuntimeError::new_err(IN_USE)),
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

/// The outcomes of the rows that were read; or the exception that the events raised, of which these
/// outcomes become an attribute.
fn with_outcomes(py: Python<'_>, outcomes: Outcomes, raised: Option<PyErr>) -> PyResult<Outcomes> {
    let Some(error) = raised else { return Ok(outcomes) };
    if outcomes.count() > 0 {
        error.value(py).setattr(intern!(py, "outcomes"), Py::new(py, outcomes)?)?;
    }
    Err(error)
}

/// A time from now; without a timeout it never comes.
fn deadline(timeout: Option<f64>) -> PyResult<Deadline> {
    let duration = match timeout {
        None => Duration::MAX,
        Some(timeout) => Duration::try_from_secs_f64(timeout).map_err(|_| {
            let text = format!("timeout must be a number of seconds from 0, not {timeout}");
            PyValueError::new_err(text)
        })?,
    };
    Ok(Deadline::after(duration))
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
    ///     The UID of the transfer syntax of encoded data sets in rows without *TransferSyntaxUID*.
    ///     An event with such a data set is not sent if the peer accepted another transfer syntax.
    ///     Structured data sets are encoded in the accepted transfer syntax.
    /// enforce_uid_conformance : bool, default True
    ///     As for :func:`encode_events`.
    /// other_columns : {"raise", "ignore"}, default "raise"
    ///     As for :func:`encode_events`.
    ///
    /// Returns
    /// -------
    /// Outcomes
    ///     The outcome of each event, also of rejected rows, such as a row of an iterable with an unknown
    ///     name. If the association fails, it is closed, and the failure is the outcome of the events
    ///     without a response; the rest of an iterable is not read.
    ///
    /// Raises
    /// ------
    /// ColumnError
    ///     If a column of a table or of a mapping is missing or unknown.
    /// TypeError
    ///     If *events*, a column or its values have an unsupported type.
    /// Exception
    ///     Any exception that *events* raises while it is read. The association stays open; the attribute
    ///     ``outcomes`` of the exception has the outcomes of the events before it, if there are any.
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

    /// Request actions, and wait for their responses (PS3.7 10.1.4).
    ///
    /// Events that the peer reports meanwhile are passed to *event_handler*, or wait for :meth:`events`.
    ///
    /// Parameters
    /// ----------
    /// actions : N_ACTION, Arrow table or stream, mapping of columns, or iterable of N_ACTION or mappings
    ///     The requests, with *RequestedSOPClassUID*, *RequestedSOPInstanceUID*, *ActionTypeID*,
    ///     *ActionInformation* (a data set as in :meth:`send`) and optionally *MessageID*.
    /// transfer_syntax : str, default "1.2.840.10008.1.2"
    ///     As for :meth:`send`.
    /// enforce_uid_conformance : bool, default True
    ///     As for :func:`encode_events`.
    /// other_columns : {"raise", "ignore"}, default "raise"
    ///     As for :func:`encode_events`.
    ///
    /// Returns
    /// -------
    /// Outcomes
    ///     The outcome of each action, as for :meth:`send`; :attr:`Outcomes.replies` has the Action
    ///     Replies, of at most 64 MiB in all.
    ///
    /// Raises
    /// ------
    /// ColumnError
    ///     If a column of a table or of a mapping is missing or unknown.
    /// TypeError
    ///     If *actions*, a column or its values have an unsupported type.
    /// Exception
    ///     As for :meth:`send`.
    /// RuntimeError
    ///     If the association is closed, or another thread is using it.
    ///
    /// Examples
    /// --------
    /// >>> from fastdimse import connect, listen
    /// >>> action = {
    /// ...     "RequestedSOPClassUID": "1.2.840.10008.1.20.1",
    /// ...     "RequestedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    /// ...     "ActionTypeID": 1,
    /// ...     "ActionInformation": {"TransactionUID": "1.2.3"},
    /// ... }
    /// >>> with listen(0, host="localhost", action_handler=lambda received: 0) as listener:
    /// ...     with connect("localhost", listener.port, role="scu") as association:
    /// ...         association.request(action).to_pydict()["StatusName"]
    /// ['0x0000 Success']
    #[pyo3(signature = (
        actions, *, transfer_syntax = "1.2.840.10008.1.2", enforce_uid_conformance = true,
        other_columns = "raise",
    ))]
    fn request(
        &self,
        py: Python<'_>,
        actions: &Bound<'_, PyAny>,
        transfer_syntax: &str,
        enforce_uid_conformance: bool,
        other_columns: &str,
    ) -> PyResult<Outcomes> {
        let options = SendOptions::of_actions(transfer_syntax, enforce_uid_conformance)?;
        let accepted = requested(self::other_columns(other_columns)?);
        self.send_some(py, &mut Events::new(actions, accepted, 0)?, &options, 0, usize::MAX)
    }

    /// Return the events that the peer reports on the association.
    ///
    /// An event that was returned is in the hands of the program: its response is Success, and is sent
    /// when the next event is asked for, or the association is used again or released.
    /// :meth:`ReceivedRequest.respond` sends another response, or sends it earlier. If the association
    /// is aborted first, there is no response, and the peer still has the event.
    ///
    /// Parameters
    /// ----------
    /// timeout : float, optional
    ///     The maximum time to wait for all events, in seconds. The default is no limit.
    /// count : int, optional
    ///     The maximum number of events. The default is no limit.
    ///
    /// Returns
    /// -------
    /// AssociationEvents
    ///     An iterator of :class:`ReceivedRequest`. It ends after *timeout* or *count*, or when the peer
    ///     releases the association.
    ///
    /// Raises
    /// ------
    /// AssociationError
    ///     If the association fails while the iterator waits.
    /// RuntimeError
    ///     If the association has an *event_handler*.
    /// ValueError
    ///     If *timeout* is negative.
    #[pyo3(signature = (*, timeout = None, count = None))]
    fn events(
        slf: Bound<'_, Self>,
        timeout: Option<f64>,
        count: Option<u64>,
    ) -> PyResult<AssociationEvents> {
        if slf.get().handler.is_some() {
            let text = "the association has an event_handler: use handle_events()";
            return Err(PyRuntimeError::new_err(text));
        }
        Ok(AssociationEvents::new(slf.unbind(), deadline(timeout)?, count))
    }

    /// Wait for events that the peer reports, and let *event_handler* handle them.
    ///
    /// Parameters
    /// ----------
    /// timeout : float, optional
    ///     The maximum time to wait, in seconds. The default is no limit.
    /// count : int, optional
    ///     The number of events to wait for. The default is no limit.
    ///
    /// Returns
    /// -------
    /// bool
    ///     ``False`` if the peer has released the association.
    ///
    /// Raises
    /// ------
    /// AssociationError
    ///     If the association fails.
    /// RuntimeError
    ///     If the association has no *event_handler*.
    /// ValueError
    ///     If *timeout* is negative.
    #[pyo3(signature = (*, timeout = None, count = None))]
    fn handle_events(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        count: Option<u64>,
    ) -> PyResult<bool> {
        if self.handler.is_none() {
            let text = "the association has no event_handler: use events()";
            return Err(PyRuntimeError::new_err(text));
        }
        let deadline = deadline(timeout)?;
        let most = count.unwrap_or(u64::MAX);
        let waited = self
            .wait(py, |sender, control| sender.wait_for_event(deadline, most, control).map(drop));
        Ok(waited?.is_some())
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
        let sender = self.begin(py)?;
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

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.handler.iter().try_for_each(|handler| handler.traverse(&visit))
    }

    fn __clear__(&self) {
        self.handler.iter().for_each(Callable::clear);
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

/// An iterator of :class:`ReceivedRequest`, as returned by :meth:`Association.events`.
#[pyclass(frozen, module = "fastdimse")]
pub struct AssociationEvents {
    association: Py<Association>,
    deadline: Deadline,
    /// The number of events that are still to be returned.
    left: Mutex<u64>,
}

impl AssociationEvents {
    pub fn new(association: Py<Association>, deadline: Deadline, count: Option<u64>) -> Self {
        Self { association, deadline, left: Mutex::new(count.unwrap_or(u64::MAX)) }
    }
}

#[pymethods]
impl AssociationEvents {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<ReceivedRequest>> {
        let association = self.association.get();
        if *self.left.lock().expect("nothing panics while it is locked") == 0 {
            association.accept_pending(py)?;
            return Ok(None);
        }
        let Some((event, origin)) = association.wait_for_event(py, self.deadline)? else {
            return Ok(None);
        };
        *self.left.lock().expect("nothing panics while it is locked") -= 1;
        let data_set = (!event.data_set.is_empty()).then_some(&*event.data_set);
        let syntax = origin.accepted.transfer_syntax(event.context_id);
        let received = ReceivedRequest::of_parts(
            Kind::Request,
            &event.command_set,
            data_set,
            event.context_id,
            &origin,
            event.time,
        );
        // Python would raise the exception of a signal handler before the caller has the event, which would
        // then get a response.
        if let Err(error) = py.check_signals() {
            association.abort(py)?;
            return Err(error);
        }
        let pending = Arc::new(PendingEvent::new(event));
        association.set_pending(pending.clone());
        let association = self.association.clone_ref(py);
        let received = received.on(association.clone_ref(py).into_any());
        let respond = move |given: &Bound<'_, PyAny>| {
            let response = response(given, Kind::Request, syntax)?;
            pending.take()?;
            let send = |sender: &mut Sender| sender.respond(pending.event(), &response);
            association.get().with_sender(given.py(), send)
        };
        Ok(Some(received.with_responder(Box::new(respond))))
    }
}
