//! Assigns each row to an association, a presentation context and a time.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use fastdimse_core::excerpt::excerpt;
use fastdimse_core::field::Field;
use fastdimse_core::pdu::associate::check_ae_title;
use fastdimse_core::rejection::{Reason, Rejection};
use fastdimse_core::uid;

use crate::association::Context;
use crate::columns::{CaptureColumn, CaptureColumns};
use crate::write::options::{Endpoint, Options, check_ends};
use crate::write::rows::{ChosenMessage, MessageOfRow, MessageRows, Rejected, RowKind};

/// An association to write.
#[derive(Debug)]
pub struct PlannedAssociation {
    /// The requestor, which sends the first event, and the acceptor.
    ends: [Endpoint; 2],
    /// The calling AE title.
    pub calling: String,
    /// The called AE title.
    pub called: String,
    /// The presentation contexts, by ID.
    pub contexts: BTreeMap<u8, Context>,
    /// The messages.
    pub sent: Vec<ScheduledMessage>,
    /// The time at which it is opened, in nanoseconds since 1970 (UTC).
    pub opened: i64,
}

/// A message with its time and its sender.
#[derive(Debug, Clone, Copy)]
pub struct ScheduledMessage {
    /// The time, in nanoseconds since 1970 (UTC).
    pub time: i64,
    /// The sender; 0 is the requestor.
    pub side: usize,
    /// The row.
    row: usize,
    /// Which message of the row.
    pub which: MessageOfRow,
    /// The index among the messages of this kind.
    pub index: usize,
}

/// The time between rows without times, and between the opening of an association and its first
/// message.
const STEP: i64 = 1_000_000;

/// The latency of a response if its row has none.
const DEFAULT_LATENCY: i64 = STEP / 2;

/// The first of the dynamic ports, and their number (RFC 6335).
const DYNAMIC_PORTS: (u16, usize) = (49152, 16384);

/// The SOP class of presentation contexts for which no row has a SOP class: Verification.
const ANY_SOP_CLASS: &str = "1.2.840.10008.1.1";

impl PlannedAssociation {
    /// The endpoints of the association with this number.
    pub fn sockets(&self, number: usize) -> [SocketAddr; 2] {
        let own = DYNAMIC_PORTS.0 + (number % DYNAMIC_PORTS.1) as u16;
        self.ends.map(|end| (end.address, end.port.unwrap_or(own)).into())
    }

    fn last_time(&self) -> i64 {
        self.sent.iter().map(|sent| sent.time).max().unwrap_or(self.opened)
    }

    /// The end that sends the event of a row.
    fn side(&self, place: &RowPlace<'_>) -> Result<usize, Reason> {
        for (column, here, row) in [
            (CaptureColumn::CallingAETitle, &self.calling, place.calling),
            (CaptureColumn::CalledAETitle, &self.called, place.called),
        ] {
            if here != row {
                let text = format!("'{row}', but '{here}' in another row of its association");
                return Err(wrong(column, text));
            }
        }
        match self.ends.iter().position(|end| *end == place.ends[0]) {
            Some(side) if self.ends[1 - side] == place.ends[1] => Ok(side),
            _ => Err(wrong(
                CaptureColumn::Association,
                "rows of one association have the same two ends".into(),
            )),
        }
    }

    /// The presentation context of the messages of a row: the one it names, or one with its SOP
    /// class and transfer syntax.
    fn context(&mut self, place: &RowPlace<'_>, side: usize) -> Result<u8, Reason> {
        let known = match (place.context_id, place.sop_class) {
            (Some(id), _) => Some(id),
            (None, None) => self.contexts.keys().next().copied(),
            (None, Some(sop_class)) => self
                .contexts
                .iter()
                .find(|(_, context)| {
                    context.abstract_syntax == sop_class
                        && context.transfer_syntax == place.transfer_syntax
                })
                .map(|(&id, _)| id),
        };
        let free = || (1..=255).step_by(2).find(|id| !self.contexts.contains_key(id));
        let id = known.or_else(free).ok_or_else(|| {
            let text = "an association has at most 128 presentation contexts, and this row needs one \
                        more: give it a PresentationContextID of the association or another Association";
            Reason::Value(text.into())
        })?;
        let context = self.contexts.entry(id).or_insert_with(|| Context {
            abstract_syntax: place.sop_class.unwrap_or(ANY_SOP_CLASS).to_owned(),
            transfer_syntax: place.transfer_syntax.to_owned(),
            requestor_is_scp: false,
            acceptor_is_scp: false,
        });
        if context.transfer_syntax != place.transfer_syntax {
            let here = &context.transfer_syntax;
            let text = format!(
                "'{}', but '{here}' in another row of presentation context {id}",
                place.transfer_syntax
            );
            return Err(wrong(CaptureColumn::TransferSyntaxUID, text));
        }
        match side {
            0 => context.requestor_is_scp = true,
            _ => context.acceptor_is_scp = true,
        }
        Ok(id)
    }
}

/// Where a row belongs.
struct RowPlace<'a> {
    number: Option<i64>,
    /// The sender of the event, and the sender of the response.
    ends: [Endpoint; 2],
    calling: &'a str,
    called: &'a str,
    context_id: Option<u8>,
    sop_class: Option<&'a str>,
    transfer_syntax: &'a str,
    time: i64,
    responded: i64,
}

/// The common properties of the rows of one association.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Number(i64),
    Ends([Endpoint; 2], String, String),
}

/// The plan.
pub struct Plan<'a> {
    options: &'a Options,
    rows: &'a MessageRows,
    seen: &'a CaptureColumns,
    /// The associations, in the order in which they are opened.
    pub associations: Vec<PlannedAssociation>,
    /// The messages to encode.
    pub chosen: Vec<ChosenMessage>,
    known: HashMap<Key, usize>,
    /// The time of the last row.
    clock: i64,
    /// The number of messages of each kind.
    counts: [usize; 2],
}

impl<'a> Plan<'a> {
    /// Plans all rows that are not rejected, and rejects rows that do not fit.
    pub fn new(
        options: &'a Options,
        rows: &'a MessageRows,
        seen: &'a CaptureColumns,
        rejected: &mut Rejected,
    ) -> Self {
        let mut plan = Self {
            options,
            rows,
            seen,
            associations: Vec::new(),
            chosen: Vec::new(),
            known: HashMap::new(),
            clock: 0,
            counts: [0; 2],
        };
        for row in 0..rows.columns.rows {
            if rejected.has(row) {
                continue;
            }
            if let Err(reason) = plan.add(row) {
                rejected.add(Rejection::new(reason).row(row as u64));
            }
        }
        plan.order(rejected);
        plan
    }

    fn add(&mut self, row: usize) -> Result<(), Reason> {
        let place = self.place(row)?;
        let key = match place.number {
            Some(number) => Key::Number(number),
            None => {
                let mut ends = place.ends;
                ends.sort();
                Key::Ends(ends, place.calling.to_owned(), place.called.to_owned())
            }
        };
        let index = *self.known.entry(key).or_insert_with(|| {
            self.associations.push(PlannedAssociation {
                ends: place.ends,
                calling: place.calling.to_owned(),
                called: place.called.to_owned(),
                contexts: BTreeMap::new(),
                sent: Vec::new(),
                opened: 0,
            });
            self.associations.len() - 1
        });
        let association = &mut self.associations[index];
        let side = association.side(&place)?;
        let context_id = association.context(&place, side)?;
        let mut send = |which: MessageOfRow, side, time| {
            let index = self.counts[which as usize];
            self.counts[which as usize] += 1;
            association.sent.push(ScheduledMessage { time, side, row, which, index });
            self.chosen.push(ChosenMessage { row, which, context_id });
        };
        match self.rows.kinds[row] {
            RowKind::Request => send(MessageOfRow::Own, side, place.time),
            RowKind::Response => send(MessageOfRow::Own, 1 - side, place.time),
            RowKind::RequestWithResponse => {
                send(MessageOfRow::Own, side, place.time);
                send(MessageOfRow::Response, 1 - side, place.responded);
            }
        }
        self.clock = place.time;
        Ok(())
    }

    fn place(&self, row: usize) -> Result<RowPlace<'a>, Reason> {
        let columns = &self.rows.columns;
        let (options, seen) = (self.options, self.seen);
        let title = |column, default: &'a str| match seen.text(column, row) {
            Some(title) => check_ae_title(title).map_err(|why| wrong(column, why)).map(|()| title),
            None => Ok(default),
        };
        let transfer_syntax = match seen.text(CaptureColumn::TransferSyntaxUID, row) {
            Some(text) => {
                uid::check_lenient(text.as_bytes()).map_err(|why| {
                    wrong(
                        CaptureColumn::TransferSyntaxUID,
                        Reason::Uid(excerpt(text.as_bytes()), why).to_string(),
                    )
                })?;
                text
            }
            None => &options.transfer_syntax,
        };
        let sop_class = columns.bytes(Field::AffectedSOPClassUID, row);
        let context_id = columns.integer(Field::PresentationContextID, row);
        let (time, responded) = self.times(row)?;
        Ok(RowPlace {
            number: seen.number(CaptureColumn::Association, row),
            ends: self.ends(row)?,
            calling: title(CaptureColumn::CallingAETitle, &options.calling)?,
            called: title(CaptureColumn::CalledAETitle, &options.called)?,
            // Both were checked together with the messages of the row.
            context_id: context_id.and_then(|id| u8::try_from(id).ok()),
            sop_class: sop_class.and_then(|uid| std::str::from_utf8(uid).ok()),
            transfer_syntax,
            time,
            responded,
        })
    }

    /// The senders of the event and of the response of a row. The source of a row sends its own
    /// message.
    fn ends(&self, row: usize) -> Result<[Endpoint; 2], Reason> {
        let alone = self.rows.kinds[row] == RowKind::Response;
        let end = |address: CaptureColumn, port: CaptureColumn, default: Endpoint| {
            let address = match self.seen.text(address, row) {
                None => default.address,
                Some(text) => text.parse().map_err(|_| {
                    wrong(address, format!("'{}' is not an IP address", excerpt(text.as_bytes())))
                })?,
            };
            let port = match self.seen.number(port, row) {
                None => default.port,
                Some(number) => Some(
                    u16::try_from(number)
                        .map_err(|_| wrong(port, format!("{number} is not a port: 0 to 65535")))?,
                ),
            };
            Ok(Endpoint { address, port })
        };
        let (event, response) = (self.options.source, self.options.destination);
        let defaults = if alone { [response, event] } else { [event, response] };
        let source = end(CaptureColumn::SourceAddress, CaptureColumn::SourcePort, defaults[0])?;
        let destination =
            end(CaptureColumn::DestinationAddress, CaptureColumn::DestinationPort, defaults[1])?;
        let ends = if alone { [destination, source] } else { [source, destination] };
        check_ends(ends).map(|()| ends)
    }

    /// The times of a row's own message and of its response.
    fn times(&self, row: usize) -> Result<(i64, i64), Reason> {
        let last = self.options.format.last_time();
        let latency = self.seen.number(CaptureColumn::Latency, row);
        if latency.is_some() && self.rows.kinds[row] != RowKind::RequestWithResponse {
            return Err(wrong(
                CaptureColumn::Latency,
                "only an event with a Status has one".into(),
            ));
        }
        if let Some(latency @ ..0) = latency {
            let text = format!("{latency} ns: the response would come before its request");
            return Err(wrong(CaptureColumn::Latency, text));
        }
        let time =
            self.seen.number(CaptureColumn::Time, row).unwrap_or(self.clock.saturating_add(STEP));
        let responded = time.saturating_add(latency.unwrap_or(DEFAULT_LATENCY));
        match (0..=last).contains(&time) && responded <= last {
            true => Ok((time, responded)),
            false => {
                let text =
                    format!("{time} ns since 1970 cannot be stored in a file of this format");
                Err(wrong(CaptureColumn::Time, text))
            }
        }
    }

    /// Sorts all messages by time, and rejects the rows of associations that would use the same
    /// endpoints at the same time.
    fn order(&mut self, rejected: &mut Rejected) {
        for association in &mut self.associations {
            association.sent.sort_by_key(|sent| sent.time);
        }
        self.associations.retain(|association| !association.sent.is_empty());
        self.associations.sort_by_key(|association| association.sent[0].time);
        let mut closed: HashMap<[SocketAddr; 2], i64> = HashMap::new();
        let all = std::mem::take(&mut self.associations);
        for mut association in all {
            let mut ends = association.sockets(self.associations.len());
            ends.sort();
            let free = closed.get(&ends).copied().unwrap_or_default();
            let first = association.sent[0].time;
            if first < free {
                let text = "another association has the same ends at the same time";
                for sent in &association.sent {
                    let reason = wrong(CaptureColumn::Association, text.into());
                    rejected.add(Rejection::new(reason).row(sent.row as u64));
                }
                continue;
            }
            association.opened = first.saturating_sub(STEP).max(free);
            closed.insert(ends, association.last_time());
            self.associations.push(association);
        }
    }
}

/// The reason of an invalid value in a column of the capture.
fn wrong(column: CaptureColumn, why: String) -> Reason {
    Reason::Value(format!("{}: {why}", column.name()).into())
}
