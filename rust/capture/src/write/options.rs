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

/// How to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// The AE title of who sends events and opens the association.
    pub calling: String,
    /// The AE title of who answers.
    pub called: String,
    /// Who sends events.
    pub source: Endpoint,
    /// Who answers.
    pub destination: Endpoint,
    /// The transfer syntax of event information and replies.
    pub transfer_syntax: String,
    /// The most that a PDU may hold; both ends say so.
    pub max_pdu_length: i128,
    /// The file's format.
    pub format: Format,
    /// What to do with bad rows.
    pub on_invalid: OnInvalid,
    /// Whether UIDs must be conformant to PS3.5 9.1, or only short ASCII.
    pub conformant_uids: bool,
}

impl Options {
    /// Checks the options, and returns those of encoding events.
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
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None` is a port of each association's own.
    pub port: Option<u16>,
}

/// Checks that a connection is possible between two ends.
pub fn check_ends([source, destination]: [Endpoint; 2]) -> Result<(), Reason> {
    let text = if source.address.is_ipv4() != destination.address.is_ipv4() {
        "one is an IPv4 address and the other one of IPv6"
    } else if source == destination {
        "both ends have the same address and port"
    } else {
        return Ok(());
    };
    let ends = format!("{} and {}", source.address, destination.address);
    Err(Reason::Value(format!("{ends}: {text}").into()))
}
