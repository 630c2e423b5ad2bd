//! Opens a connection and requests an association on it (PS3.8 7.1).

use std::net::ToSocketAddrs;
use std::time::Duration;

use dicom_ul::pdu::Pdu;

use crate::association::negotiation::{Agreement, Proposal};
use crate::failure::Failure;
use crate::timeouts::Timeouts;
use crate::transport::connection::{Connection, ended_by};
use crate::transport::tls::ClientTls;

/// Opens a connection and establishes an association on it.
///
/// # Errors
///
/// If the connection fails, or the peer accepts no presentation context.
pub fn associate(
    address: impl ToSocketAddrs + Send + 'static,
    tls: Option<&ClientTls>,
    proposal: &Proposal,
    timeouts: &Timeouts,
) -> Result<(Connection, Agreement), Failure> {
    let mut connection = Connection::open(address, tls, proposal.max_pdu_length, timeouts)?;
    match negotiate(&mut connection, proposal, timeouts.association) {
        Ok(agreement) => Ok((connection, agreement)),
        Err(failure) => {
            connection.fail(&failure);
            Err(failure)
        }
    }
}

fn negotiate(
    connection: &mut Connection,
    proposal: &Proposal,
    timeout: Duration,
) -> Result<Agreement, Failure> {
    connection.write_pdu(&proposal.request())?;
    match connection.wait_for_pdu("A-ASSOCIATE-AC", timeout)? {
        Pdu::AssociationAC(accepted) => proposal.agreement(&accepted),
        other => Err(ended_by(&other, "A-ASSOCIATE-AC")),
    }
}
