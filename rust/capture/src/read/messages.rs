//! Finds where the messages of a direction end (PS3.8 9.3.5 and Annex E), so that only complete ones
//! are decoded.

use std::ops::Range;

use fastdimse_core::command_set::{CommandSet, Message};
use fastdimse_core::decode::check_uids;
use fastdimse_core::pdu::read::{Item, Pdus, Pdv};
use fastdimse_core::rejection::{Reason, Rejection};

/// Reads the PDUs of a direction. All offsets are indexes of its bytes.
#[derive(Debug, Default)]
pub struct MessageBounds {
    /// The offset of the next PDU.
    pub at: usize,
    /// The end of the PDUs that can be decoded without those that follow.
    pub end: usize,
    state: State,
    /// The beginning of the first PDU of each message, and the end of its last fragment.
    pub messages: Vec<(usize, usize)>,
    /// The command set of the last message.
    command: Range<usize>,
    /// The same, if it has several fragments.
    joined: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// After a message, which may be invalid.
    Message,
    /// Between messages.
    #[default]
    Idle,
    /// After an invalid message. Its data set is skipped.
    Lost,
    /// In a command set.
    Command,
    /// Before the end of a data set, and whether the command set is known to be an event or action.
    DataSet { is_wanted: bool },
}

/// What is known of the PDUs that follow the complete messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// They begin a message, or continue a message that is wanted.
    Message,
    /// They may continue the data set of an invalid message.
    Lost,
    /// They continue the data set of another message.
    OtherDataSet,
}

impl MessageBounds {
    /// Starts at a PDU after a message.
    pub fn new(at: usize) -> Self {
        Self { at, end: at, ..Self::default() }
    }

    /// Reads the complete PDUs.
    ///
    /// # Errors
    ///
    /// The error in the framing of the next PDU, or its incompleteness.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        let mut pdus = Pdus::new(bytes);
        pdus.continue_at(self.at);
        loop {
            if let Some(at) = pdus.next_at() {
                self.at = at;
                if matches!(self.state, State::Idle | State::Message | State::Lost) {
                    self.end = at;
                }
            }
            match pdus.next() {
                None => return Ok(()),
                Some(Ok(Item::Pdv(pdv))) => self.add(&pdv),
                Some(Ok(Item::Other(_))) => self.state = State::Idle,
                Some(Err(Rejection { reason: Reason::PdvLength { .. }, .. })) => {
                    self.state = State::Lost;
                }
                Some(Err(rejection)) => return Err(rejection),
            }
        }
    }

    fn add(&mut self, pdv: &Pdv<'_>) {
        let end = pdv.fragment_at + pdv.fragment.len();
        if !pdv.is_command() {
            // Another fragment belongs to a message that could not be read, not to the last one.
            if let (State::DataSet { .. }, Some(last)) = (self.state, self.messages.last_mut()) {
                last.1 = end;
            }
            self.state = match (self.state, pdv.is_last()) {
                (State::DataSet { .. }, true) => State::Message,
                (state @ State::DataSet { .. }, false) => state,
                _ => State::Lost,
            };
            return;
        }
        match self.messages.last_mut() {
            Some(last) if self.state == State::Command => {
                last.1 = end;
                self.joined.extend_from_slice(pdv.fragment);
            }
            _ => {
                self.messages.push((pdv.pdu_at, end));
                self.command = pdv.fragment_at..end;
                self.joined.clear();
                if !pdv.is_last() {
                    self.joined.extend_from_slice(pdv.fragment);
                }
            }
        }
        self.state = match pdv.is_last() {
            false => State::Command,
            true => {
                let joined = self.joined.as_slice();
                let command = if joined.is_empty() { pdv.fragment } else { joined };
                match announces_data_set(command) {
                    true => State::DataSet { is_wanted: false },
                    false => State::Message,
                }
            }
        };
    }

    /// Decides about the last message at the end of the bytes so far. Moves [`Self::end`] to the end of
    /// the PDUs if the message is not wanted.
    pub fn settle(&mut self, bytes: &[u8]) -> Next {
        match self.state {
            State::Message => {
                self.state = match self.read_command(bytes) {
                    Ok(_) => State::Idle,
                    Err(_) => State::Lost,
                };
            }
            State::DataSet { is_wanted: false } => match self.read_command(bytes) {
                Ok(true) => self.state = State::DataSet { is_wanted: true },
                Ok(false) => {
                    self.end = self.at;
                    return Next::OtherDataSet;
                }
                Err(_) => {
                    self.end = self.at;
                    self.state = State::Lost;
                }
            },
            State::Idle | State::Lost | State::Command | State::DataSet { .. } => {}
        }
        if self.state == State::Lost { Next::Lost } else { Next::Message }
    }

    /// Whether the message is an event or an action.
    fn read_command(&self, bytes: &[u8]) -> Result<bool, Rejection> {
        let single = bytes.get(self.command.clone()).unwrap_or_default();
        let command = if self.joined.is_empty() { single } else { &self.joined };
        match CommandSet::read(command)? {
            Message::Event { command_set, .. } => check_uids(&command_set).map(|()| true),
            Message::Action { .. } => Ok(true),
            Message::Other { .. } => Ok(false),
        }
    }

    /// The beginning of the message that is not complete.
    pub fn incomplete(&self) -> Option<usize> {
        let is_incomplete = matches!(self.state, State::Command | State::DataSet { .. });
        self.messages.last().filter(|_| is_incomplete).map(|message| message.0)
    }

    /// Removes the bytes before `count`, which were decoded.
    pub fn shift(&mut self, count: usize) {
        self.at -= count;
        self.end -= count;
        let decoded = self.messages.partition_point(|message| message.0 < count);
        self.messages.drain(..decoded);
        for (begin, end) in &mut self.messages {
            *begin -= count;
            *end -= count;
        }
        let Range { start, end } = self.command;
        self.command = start.saturating_sub(count)..end.saturating_sub(count);
    }

    /// The memory of the command set.
    pub fn memory(&self) -> usize {
        self.joined.capacity()
    }
}

/// Whether a command set announces a data set, if it is valid (PS3.7 E.1). Elements in ascending
/// order cannot be repeated; other command sets are read by all rules.
fn announces_data_set(command: &[u8]) -> bool {
    const DATA_SET_TYPE: u16 = 0x0800;
    const NONE: [u8; 2] = [0x01, 0x01];
    let by_all_rules = || CommandSet::read(command).is_ok_and(|message| message.data_set());
    let mut rest = command;
    let mut before = None;
    let mut announces = None;
    while let [0, 0, e0, e1, l0, l1, l2, l3, after @ ..] = rest {
        let element = u16::from_le_bytes([*e0, *e1]);
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let Some(value) = after.get(..length).filter(|_| before.is_none_or(|one| one < element))
        else {
            return by_all_rules();
        };
        if element == DATA_SET_TYPE {
            announces = Some(value != NONE);
        }
        before = Some(element);
        rest = &after[length..];
    }
    match announces {
        Some(announces) if rest.is_empty() => announces,
        _ => by_all_rules(),
    }
}

#[cfg(test)]
mod tests {
    use fastdimse_core::command_set::Value;
    use fastdimse_core::field::{Field, Kind};
    use fastdimse_core::pdu::write::{MaxPduLength, write_message};

    use super::*;

    fn message(kind: Kind, data_set: &[u8], max: i128) -> Vec<u8> {
        let mut command_set = CommandSet::new(kind, !data_set.is_empty());
        command_set.set(Field::MessageID, Value::Us(7));
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2"));
        command_set.set(Field::EventTypeID, Value::Us(1));
        let mut out = Vec::new();
        let max = MaxPduLength::new(max).unwrap();
        write_message(&mut out, 1, max, |out| command_set.write(out), data_set);
        out
    }

    /// The command field of a message, which has one PDU and one PDV.
    fn as_command(mut message: Vec<u8>, field: u16) -> Vec<u8> {
        let at = message.windows(4).position(|bytes| bytes == [0, 0, 0, 1]).unwrap();
        message[at + 8..at + 10].copy_from_slice(&field.to_le_bytes());
        message
    }

    #[test]
    fn only_complete_messages_are_given_out() {
        for max in [0, 30] {
            let messages = [message(Kind::Request, b"data", max), message(Kind::Request, b"", max)];
            let stream = messages.concat();
            for length in 0..=stream.len() {
                let mut bounds = MessageBounds::default();
                let _ = bounds.read(&stream[..length]);
                assert_eq!(bounds.settle(&stream[..length]), Next::Message);
                let complete = match length {
                    _ if length == stream.len() => length,
                    _ if length >= messages[0].len() => messages[0].len(),
                    _ => 0,
                };
                assert_eq!(bounds.end, complete, "{length} {max}");
            }
        }
    }

    #[test]
    fn the_data_set_of_another_message_is_not_awaited() {
        let mut stream = as_command(message(Kind::Request, b"image", 0), 0x0001);
        stream.truncate(stream.len() - 5 - 12);
        let mut bounds = MessageBounds::default();
        bounds.read(&stream).unwrap();
        assert_eq!((bounds.end, bounds.settle(&stream)), (0, Next::OtherDataSet));
        assert_eq!(bounds.end, stream.len());
    }

    #[test]
    fn the_data_set_of_an_invalid_message_is_lost() {
        let mut stream = message(Kind::Request, b"data", 0);
        let at = stream.windows(4).position(|bytes| bytes == [0, 0, 0, 1]).unwrap();
        stream[at + 2..at + 4].copy_from_slice(&[0xff, 0xff]);
        for length in [stream.len() - 4 - 12, stream.len()] {
            let mut bounds = MessageBounds::default();
            bounds.read(&stream[..length]).unwrap();
            assert_eq!(bounds.settle(&stream[..length]), Next::Lost);
            assert_eq!(bounds.end, length);
        }
    }
}
