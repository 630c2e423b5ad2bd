//! Options of writing a capture.

use std::net::IpAddr;

use fastdimse_core::encode;
use fastdimse_core::excerpt::excerpt;
use fastdimse_core::options::{Framing, OnInvalid};
use fastdimse_core::pdu::associate::check_ae_title;
use fastdimse_core::pdu::write::MaxPduLength;
use fastdimse_core::rejection::{Reason, Rejection};
use fastdimse_core::uid;

use crate::write::file::Format;

/// How to write a capture.
#[derive(Debug, Clone)]
pub struct Options {
    /// The AE title of the SCP, which sends the events and opens the association.
    pub calling: String,
    /// The AE title of the SCU, which responds.
    pub called: String,
    /// The SCP.
    pub source: Endpoint,
    /// The SCU.
    pub destination: Endpoint,
    /// The transfer syntax of event information and replies.
    pub transfer_syntax: String,
    /// The maximum PDU length of both ends.
    pub max_pdu_length: i128,
    /// The format of the file.
    pub format: Format,
    /// What to do with invalid rows.
    pub on_invalid: OnInvalid,
    /// Whether UIDs must conform to PS3.5 9.1, or only to the lenient rule.
    pub conformant_uids: bool,
}

impl Options {
    /// Checks the options, and returns the options of encoding events.
    pub fn check(&self) -> Result<encode::Options, Rejection> {
        let fail = |text: String| Rejection::new(Reason::Value(text.into()));
        check_ae_title(&self.calling).map_err(fail)?;
        check_ae_title(&self.called).map_err(fail)?;
        uid::check_lenient(self.transfer_syntax.as_bytes()).map_err(|why| {
            Rejection::new(Reason::Uid(excerpt(self.transfer_syntax.as_bytes()), why))
        })?;
        check_ends([self.source, self.destination]).map_err(Rejection::new)?;
        Ok(encode::Options {
            context_id: 1,
            max_pdu_length: MaxPduLength::new(self.max_pdu_length)?.even(),
            framing: Framing::PData,
            on_invalid: OnInvalid::Skip,
            conformant_uids: self.conformant_uids,
        })
    }
}

/// One end of an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port; `None` for a different port in each association.
    pub port: Option<u16>,
}

/// Checks that two ends can have a connection.
pub fn check_ends([source, destination]: [Endpoint; 2]) -> Result<(), Reason> {
    let text = if source.address.is_ipv4() != destination.address.is_ipv4() {
        "one is an IPv4 address and the other an IPv6 address"
    } else if source == destination {
        "both ends have the same address and port"
    } else {
        return Ok(());
    };
    let ends = format!("{} and {}", source.address, destination.address);
    Err(Reason::Value(format!("{ends}: {text}").into()))
}
