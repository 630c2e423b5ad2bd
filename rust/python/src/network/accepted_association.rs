//! An association that a peer requested at a listener, on which the local side may report events.

use std::sync::Arc;

use fastdimse_delivery::association::negotiation::Agreement;
use fastdimse_delivery::receive::receiver::Origin;
use fastdimse_delivery::receive::reports::{NotReported, Report, Reported};
use pyo3::intern;
use pyo3::prelude::*;

use crate::input::event_columns::sent;
use crate::input::events::Events;
use crate::input::options::other_columns;
use crate::network::calls::attach;
use crate::network::outcomes::{Outcomes, OutcomesBuilder};
use crate::network::sending::{NOT_SENT, SendOptions, next_requests, record};

/// An association that a peer requested at a listener, as :attr:`ReceivedRequest.association`.
///
/// Attributes
/// ----------
/// calling_ae, called_ae : str
///     The AE titles.
/// address : tuple of (str, int)
///     The IP address and the port of the peer.
/// number : int
///     The number of the association at its listener, from 1.
/// is_open : bool
///     Whether events can be reported on it.
/// transfer_syntaxes : dict of str to str
///     The SOP classes whose events the peer may receive on it, each with its transfer syntax.
///
/// Examples
/// --------
/// The SCP reports the result of an action on the association of the request:
///
/// >>> from fastdimse import connect, listen
/// >>> storage_commitment = "1.2.840.10008.1.20.1"
/// >>> def perform(received):
/// ...     received.association.report({
/// ...         "AffectedSOPClassUID": storage_commitment,
/// ...         "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...         "EventTypeID": 1,
/// ...         "EventInformation": {"TransactionUID": received.attributes["TransactionUID"]},
/// ...     })
/// >>> with listen(0, host="localhost", action_handler=perform) as listener:
/// ...     with connect(
/// ...         "localhost", listener.port, sop_classes=storage_commitment, role="scu"
/// ...     ) as association:
/// ...         outcomes = association.request({
/// ...             "RequestedSOPClassUID": storage_commitment,
/// ...             "RequestedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
/// ...             "ActionTypeID": 1,
/// ...             "ActionInformation": {"TransactionUID": "1.2.3"},
/// ...         })
/// ...         for received in association.events(timeout=10, count=1):
/// ...             print(received.request.EventTypeID, received.attributes)
/// 1 {'TransactionUID': '1.2.3'}
#[pyclass(frozen, module = "fastdimse")]
pub struct AcceptedAssociation {
    origin: Arc<Origin>,
    agreement: Agreement,
}

impl AcceptedAssociation {
    pub fn new(origin: Arc<Origin>) -> Self {
        let agreement = origin.accepted.of_acceptor();
        Self { origin, agreement }
    }
}

#[pymethods]
impl AcceptedAssociation {
    #[getter]
    fn calling_ae(&self) -> &str {
        &self.origin.accepted.calling
    }

    #[getter]
    fn called_ae(&self) -> &str {
        &self.origin.accepted.called
    }

    #[getter]
    fn address(&self) -> (String, u16) {
        (self.origin.peer.ip().to_string(), self.origin.peer.port())
    }

    #[getter]
    fn number(&self) -> u64 {
        self.origin.number
    }

    #[getter]
    fn is_open(&self) -> bool {
        self.origin.reports.is_open()
    }

    #[getter]
    fn transfer_syntaxes(&self) -> std::collections::BTreeMap<&str, &'static str> {
        let contexts = self.agreement.contexts.iter().filter(|(_, context)| context.is_scp);
        contexts.map(|(uid, context)| (uid.as_str(), context.transfer_syntax.uid())).collect()
    }

    /// Report events on the association, from any thread.
    ///
    /// The thread of the association sends them after the response to the request that it handles.
    /// Do not wait for the future in a handler: the handler runs in this thread. At most 10,000 reports
    /// or 64 MiB wait for a peer that responds slowly; further ones fail at once.
    ///
    /// Parameters
    /// ----------
    /// events : Arrow table or stream, mapping of columns, or iterable of N_EVENT_REPORT or mappings
    ///     As for :meth:`Association.send`.
    /// transfer_syntax : str, default "1.2.840.10008.1.2"
    ///     As for :meth:`Association.send`.
    /// enforce_uid_conformance : bool, default True
    ///     As for :func:`encode_events`.
    /// other_columns : {"raise", "ignore"}, default "raise"
    ///     As for :func:`encode_events`.
    ///
    /// Returns
    /// -------
    /// concurrent.futures.Future of Outcomes
    ///     The outcome of each event, when all of them have one. If the association ends first, is
    ///     closed already, or the peer is not the SCU of the SOP class, that is the *Failure* of the
    ///     events without a response.
    ///
    /// Raises
    /// ------
    /// ColumnError
    ///     If a column is missing or unknown.
    /// TypeError
    ///     If *events*, a column or a value has an unsupported type.
    #[pyo3(signature = (
        events, *, transfer_syntax = "1.2.840.10008.1.2", enforce_uid_conformance = true,
        other_columns = "raise",
    ))]
    fn report<'py>(
        &self,
        py: Python<'py>,
        events: &Bound<'py, PyAny>,
        transfer_syntax: &str,
        enforce_uid_conformance: bool,
        other_columns: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = SendOptions::new(transfer_syntax, enforce_uid_conformance)?;
        let accepted = sent(self::other_columns(other_columns)?);
        let mut events = Events::new(events, accepted, 0)?;
        events.reject_rows();
        let mut outcomes = OutcomesBuilder::default();
        let (mut bytes, mut offsets, mut ids, mut rows) = (vec![], vec![0], vec![], vec![]);
        loop {
            let first_row = outcomes.count() as u64;
            let (options, agreement) = (&options, &self.agreement);
            let next = next_requests(py, &mut events, options, agreement, first_row, usize::MAX)?;
            let Some((requests, count)) = next else { break };
            rows.extend(record(&requests, count, 0, &mut outcomes));
            let base = bytes.len() as i64;
            bytes.extend_from_slice(&requests.encoded.bytes);
            offsets.extend(requests.encoded.offsets.iter().skip(1).map(|offset| base + offset));
            ids.extend(requests.message_ids);
        }
        let futures = py.import(intern!(py, "concurrent.futures"))?;
        let future = futures.getattr(intern!(py, "Future"))?.call0()?;
        future.call_method0(intern!(py, "set_running_or_notify_cancel"))?;
        let to_set = future.clone().unbind();
        let done = move |reported: Reported| {
            let outcomes = completed(outcomes, &rows, reported);
            // If the interpreter is finalizing, nobody waits for the future.
            let set = attach(|py| -> PyResult<()> {
                let outcomes = Py::new(py, outcomes)?;
                to_set.bind(py).call_method1(intern!(py, "set_result"), (outcomes,))?;
                Ok(())
            });
            drop(set);
        };
        py.detach(|| self.origin.reports.push(Report::new(bytes, offsets, ids, Box::new(done))));
        Ok(future)
    }

    fn __repr__(&self) -> String {
        let Origin { number, peer, accepted, reports } = &*self.origin;
        let state = if reports.is_open() { "open" } else { "closed" };
        let (calling, called) = (&accepted.calling, &accepted.called);
        format!("<AcceptedAssociation: {state}, number {number} of {peer} ({calling} to {called})>")
    }
}

/// The outcomes of events, whose rows are `rows`.
fn completed(mut outcomes: OutcomesBuilder, rows: &[usize], reported: Reported) -> Outcomes {
    for response in reported.responses {
        outcomes.set_response(rows[response.request as usize], response);
    }
    let failure = reported.failure.map(|NotReported { code, text }| {
        let unsent = rows.get(reported.sent).copied();
        if let Some(unsent) = unsent {
            outcomes.fail_from(unsent, NOT_SENT, &text);
        }
        outcomes.fail_from(0, code, &text);
        text
    });
    outcomes.finish(failure)
}
