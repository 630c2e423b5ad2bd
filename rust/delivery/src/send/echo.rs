//! Verifies that a peer responds: C-ECHO (PS3.4 A, PS3.7 9.1.5).

use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use fastdimse_core::command_set::{CommandSet, Message, Value};
use fastdimse_core::field::{Field, Kind};
use fastdimse_core::pdu::write::write_message;

use crate::association::negotiation::VERIFICATION;
use crate::association::negotiation::{Proposal, max_pdu_length};
use crate::association::request::associate;
use crate::failure::Failure;
use crate::messages::Messages;
use crate::responses::C_ECHO_RQ;
use crate::timeouts::Deadline;
use crate::timeouts::Timeouts;
use crate::transport::connection::{Connection, P_DATA, ended};
use crate::transport::tls::ClientTls;

/// Command Field of C-ECHO-RSP (PS3.7 E.1).
const C_ECHO_RSP: u16 = 0x8030;
const MESSAGE_ID: u16 = 1;

/// The response to a C-ECHO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// The Status (PS3.7 9.1.5.1.4).
    pub status: u16,
    /// The time from writing the request to reading the response.
    pub latency: Duration,
}

/// Establishes an association for Verification, sends a C-ECHO, and releases the association.
///
/// # Errors
///
/// If the association fails, or there is no response.
pub fn verify(
    address: impl ToSocketAddrs + Send + 'static,
    tls: Option<&ClientTls>,
    proposal: &Proposal,
    timeouts: &Timeouts,
) -> Result<Echo, Failure> {
    let (mut connection, agreement) = associate(address, tls, proposal, timeouts)?;
    let context = agreement.contexts.values().next().expect("one was accepted");
    let mut request = CommandSet::new(Kind::Request, false);
    request.set(Field::AffectedSOPClassUID, Value::Text(VERIFICATION.as_bytes()));
    request.set(Field::MessageID, Value::Us(MESSAGE_ID));
    let mut pdus = Vec::new();
    let write = |out: &mut Vec<u8>| request.write_as(C_ECHO_RQ, out);
    let longest = max_pdu_length(agreement.max_pdu_length);
    write_message(&mut pdus, context.id, longest, write, &[]);
    let begin = Instant::now();
    connection.write(&pdus)?;
    match response(&mut connection, timeouts.response) {
        Ok(status) => {
            let latency = begin.elapsed();
            connection.release(timeouts.association)?;
            Ok(Echo { status, latency })
        }
        Err(failure) => {
            connection.fail(&failure);
            Err(failure)
        }
    }
}

fn response(connection: &mut Connection, timeout: Duration) -> Result<u16, Failure> {
    let deadline = Deadline::after(timeout);
    let mut messages = Messages::default();
    let mut found = None;
    while found.is_none() {
        let raw = connection.wait_for_raw(deadline)?;
        if raw.kind != P_DATA {
            return Err(ended(raw));
        }
        messages.add(raw.bytes, |arrived| {
            if let Message::Other {
                command_field: C_ECHO_RSP,
                answered: Some(MESSAGE_ID),
                status,
                ..
            } = arrived.message
            {
                found = status;
            }
            Ok(())
        })?;
    }
    Ok(found.expect("the loop ends when it is found"))
}
