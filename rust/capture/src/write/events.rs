//! Writes events with their responses as a capture.

use arrow_array::RecordBatch;
use fastdimse_core::encode::Encoded;
use fastdimse_core::options::OnInvalid;
use fastdimse_core::pdu::associate::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use fastdimse_core::pdu::write::PDU_HEADER;
use fastdimse_core::rejection::Rejection;
use fastdimse_core::schema_error::SchemaError;

use crate::association::Association;
use crate::columns::{TableError, split};
use crate::write::conversation::{Conversation, Packet, segment_size};
use crate::write::file::{File, Format};
use crate::write::join::joined;
use crate::write::options::Options;
use crate::write::plan::{Plan, PlannedAssociation, ScheduledMessage};
use crate::write::rows::{MessageOfRow, MessageRows, Rejected};

/// Why no capture was written.
#[derive(Debug)]
pub enum WriteError {
    /// The table cannot be read as events.
    Table(TableError),
    /// An invalid option, or, with [`OnInvalid::Raise`], a rejected row.
    Rejected(Rejection),
}

impl From<TableError> for WriteError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl From<SchemaError> for WriteError {
    fn from(error: SchemaError) -> Self {
        Self::Table(error.into())
    }
}

impl From<Rejection> for WriteError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// A written capture.
#[derive(Debug)]
pub struct EncodedCapture {
    /// The file.
    pub bytes: Vec<u8>,
    /// The rejected rows.
    pub rejected: Vec<Rejection>,
    /// The number of packets.
    pub packets: u64,
    /// The number of associations.
    pub associations: u64,
}

/// Writes the rows of `batches`, which have the same columns of events, as a capture. `faults` holds the
/// rejections that are known already.
///
/// Messages are sent in the order of their times. A row without a time follows one millisecond
/// after the row before. Rows belong to the same association if they have the same Association
/// number or, without a number, the same ends and AE titles.
pub fn write(
    batches: &[RecordBatch],
    options: &Options,
    faults: Vec<Rejection>,
) -> Result<EncodedCapture, WriteError> {
    let encoding = options.check()?;
    let Some(first) = batches.first() else {
        let bytes = File::new(options.format, 0).finish();
        return Ok(EncodedCapture { bytes, rejected: Vec::new(), packets: 0, associations: 0 });
    };
    let table = match batches {
        [only] => only.clone(),
        _ => joined(first, batches)?,
    };
    let (events, seen) = split(&table)?;
    let rows = MessageRows::new(&events)?;
    let mut rejected = Rejected::default();
    rows.check(&encoding, faults, &mut rejected)?;
    let plan = Plan::new(options, &rows, &seen, &mut rejected);
    if options.on_invalid == OnInvalid::Raise
        && let Some(rejection) = rejected.first()
    {
        return Err(rejection.clone().into());
    }
    let own = rows.encode(MessageOfRow::Own, &plan.chosen, &encoding)?;
    let responses = rows.encode(MessageOfRow::Response, &plan.chosen, &encoding)?;
    let packets = packets(&plan.associations, &own, &responses, options);
    let bytes = file(&plan.associations, &packets, options.format);
    Ok(EncodedCapture {
        bytes,
        rejected: rejected.into_all(),
        packets: packets.len() as u64,
        associations: plan.associations.len() as u64,
    })
}

/// The index of an association, and one of its packets.
type Numbered<'a> = (usize, Packet<'a>);

/// The packets of all associations, in the order of their times.
fn packets<'a>(
    associations: &[PlannedAssociation],
    own: &'a Encoded,
    responses: &'a Encoded,
    options: &Options,
) -> Vec<Numbered<'a>> {
    let bytes = |sent: &ScheduledMessage| {
        let encoded = if sent.which == MessageOfRow::Own { own } else { responses };
        let (begin, end) = (encoded.offsets[sent.index], encoded.offsets[sent.index + 1]);
        &encoded.bytes[begin as usize..end as usize]
    };
    let mut all = Vec::new();
    for (number, planned) in associations.iter().enumerate() {
        let packets = converse(number, planned, bytes, options);
        all.extend(packets.into_iter().map(|packet| (number, packet)));
    }
    all.sort_by_key(|(_, packet)| packet.time);
    all
}

/// A-RELEASE-RQ and -RP (PS3.8 9.3.6 and 9.3.7).
const RELEASE: [[u8; 10]; 2] = [[5, 0, 0, 0, 0, 4, 0, 0, 0, 0], [6, 0, 0, 0, 0, 4, 0, 0, 0, 0]];

/// A complete association: SYN, A-ASSOCIATE, messages, A-RELEASE, FIN.
fn converse<'a>(
    number: usize,
    planned: &PlannedAssociation,
    bytes: impl Fn(&ScheduledMessage) -> &'a [u8],
    options: &Options,
) -> Vec<Packet<'a>> {
    let association = Association {
        calling: &planned.calling,
        called: &planned.called,
        contexts: &planned.contexts,
        max_pdu_length: options.max_pdu_length as u32,
        implementation_class: IMPLEMENTATION_CLASS_UID,
        implementation_version: IMPLEMENTATION_VERSION_NAME,
    };
    let segment = segment_size(planned.sockets(number)[0].ip());
    let (first, last) = (planned.sent[0].time, planned.sent[planned.sent.len() - 1].time);
    let between = planned.opened + (first - planned.opened) / 2;
    let mut conversation = Conversation::open(number as u32, segment, planned.opened);
    conversation.send(0, association.request(), between);
    conversation.send(1, association.accept(), between);
    for sent in &planned.sent {
        // Each PDU has its own segment: Wireshark cannot follow a fragmented command set in the
        // middle of a segment.
        for pdu in pdus(bytes(sent)) {
            conversation.send(sent.side, pdu, sent.time);
        }
    }
    for (side, release) in RELEASE.iter().enumerate() {
        conversation.send(side, &release[..], last);
    }
    conversation.close(last)
}

/// The PDUs of a message, by the lengths in their headers (PS3.8 9.3.1).
fn pdus(mut message: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = *message.get(2..)?.first_chunk()?;
        let (pdu, rest) = message.split_at(PDU_HEADER + u32::from_be_bytes(length) as usize);
        message = rest;
        Some(pdu)
    })
}

fn file(associations: &[PlannedAssociation], packets: &[Numbered<'_>], format: Format) -> Vec<u8> {
    let room = packets.iter().map(|(_, packet)| packet.length()).sum::<usize>() + 256;
    let mut file = File::new(format, room);
    let mut frame = Vec::new();
    for (number, packet) in packets {
        frame.clear();
        packet.write(&mut frame, associations[*number].sockets(*number));
        file.add(packet.time, &frame);
    }
    file.finish()
}
