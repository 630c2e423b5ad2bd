//! Assembles messages from their PDVs (PS3.8 E).

use fastdimse_core::command_set::{CommandSet, Message};
use fastdimse_core::decode::MessageReader;
use fastdimse_core::pdu::read::{Item, Pdus, Pdv};
use fastdimse_core::pdu::write::PDU_HEADER;
use fastdimse_core::rejection::{Reason, Rejection};

use crate::failure::Failure;

/// The default maximum length of a message in bytes.
pub const MAX_MESSAGE_LENGTH: usize = 64 << 20;

/// A complete message.
#[derive(Debug)]
pub struct ReceivedMessage<'a> {
    /// The presentation context ID.
    pub context_id: u8,
    /// The command set.
    pub message: Message<'a>,
    /// The bytes of the command set.
    pub command_set: &'a [u8],
    /// The data set; empty if there is none.
    pub data_set: &'a [u8],
    /// Its PDUs, if it arrived at once in PDUs of its own.
    pub pdus: Option<&'a [u8]>,
}

/// Assembles messages. Between two PDUs it keeps only the incomplete message, up to the maximum
/// length.
#[derive(Debug)]
pub struct Messages {
    reader: MessageReader,
    command_set: Vec<u8>,
    data_set: Vec<u8>,
    /// The presentation context ID of the incomplete message.
    context_id: Option<u8>,
    /// Whether the command set is complete and the data set is not.
    awaits_data_set: bool,
    /// The length of the incomplete message. An empty fragment counts as one byte, so that no
    /// message is endless.
    length: usize,
    max_length: usize,
}

impl Default for Messages {
    fn default() -> Self {
        Self::new(MAX_MESSAGE_LENGTH)
    }
}

impl Messages {
    /// Accepts messages of up to `max_length` bytes.
    pub fn new(max_length: usize) -> Self {
        Self {
            reader: MessageReader::default(),
            command_set: Vec::new(),
            data_set: Vec::new(),
            context_id: None,
            awaits_data_set: false,
            length: 0,
            max_length,
        }
    }

    /// The message with which the received bytes begin, if [`Messages::add`] would pass on the same
    /// message after its last PDU: an event or the response to an event that is complete, in PDUs of at
    /// most `max_pdu_length`, of the usual form. Nearly all messages are like this, and nothing is
    /// copied. `None` for any other bytes, which [`Messages::add`] reads by all rules.
    #[inline]
    pub fn whole<'a>(
        &mut self,
        bytes: &'a [u8],
        max_pdu_length: u32,
    ) -> Option<ReceivedMessage<'a>> {
        if self.context_id.is_some() {
            return None;
        }
        let found = self.reader.read(bytes)?;
        let data_set = found.data_set.map_or(0, |data_set| data_set.len().max(1));
        let length = found.command_set_bytes.len() + data_set;
        // Not longer than one PDU, so neither are its PDUs.
        let fits = found.pdus.len() - PDU_HEADER <= max_pdu_length as usize;
        if !fits || length > self.max_length {
            return None;
        }
        Some(ReceivedMessage {
            context_id: found.context_id,
            message: Message::Event { command_set: found.command_set, several: Vec::new() },
            command_set: found.command_set_bytes,
            data_set: found.data_set.unwrap_or_default(),
            pdus: Some(found.pdus),
        })
    }

    /// Passes each message of complete PDUs to `arrived`.
    ///
    /// # Errors
    ///
    /// As [`Messages::add`].
    pub fn add_all(
        &mut self,
        mut pdus: &[u8],
        mut arrived: impl FnMut(ReceivedMessage<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while let Some(message) = self.whole(pdus, u32::MAX) {
            pdus = &pdus[message.pdus.map_or(0, <[u8]>::len)..];
            arrived(message)?;
        }
        self.add(pdus, arrived)
    }

    /// Adds the PDVs of a complete P-DATA-TF PDU, and passes each message that is now complete to
    /// `arrived`.
    ///
    /// # Errors
    ///
    /// If a PDV or a command set violates the standard, a message is too long, or `arrived` fails.
    /// The messages before it have been passed on.
    pub fn add(
        &mut self,
        pdu: &[u8],
        mut arrived: impl FnMut(ReceivedMessage<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for item in Pdus::new(pdu) {
            let Item::Pdv(pdv) = item? else { continue };
            match pdv.is_command() {
                true => self.add_command(&pdv, &mut arrived)?,
                false => self.add_data(&pdv, &mut arrived)?,
            }
        }
        Ok(())
    }

    /// The number of bytes of the incomplete message; `None` between messages.
    pub fn incomplete(&self) -> Option<usize> {
        self.context_id.map(|_| self.command_set.len() + self.data_set.len())
    }

    /// The presentation context ID of the incomplete message.
    pub fn context_id(&self) -> Option<u8> {
        self.context_id
    }

    fn add_command(
        &mut self,
        pdv: &Pdv<'_>,
        arrived: &mut impl FnMut(ReceivedMessage<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.awaits_data_set {
            return Err(Rejection::new(Reason::MissingDataSet).at(pdv.at).into());
        }
        let context_id = pdv.context_id;
        // Most command sets are complete in one PDV, and most responses have no data set: nothing
        // is copied then.
        if self.context_id.is_none() && pdv.is_last() && pdv.fragment.len() <= self.max_length {
            let message = CommandSet::read(pdv.fragment)?;
            if !message.data_set() {
                let command_set = pdv.fragment;
                return arrived(ReceivedMessage {
                    context_id,
                    message,
                    command_set,
                    data_set: &[],
                    pdus: None,
                });
            }
        }
        self.count(pdv)?;
        self.command_set.extend_from_slice(pdv.fragment);
        if !pdv.is_last() {
            return Ok(());
        }
        let message = CommandSet::read(&self.command_set)?;
        if message.data_set() {
            self.awaits_data_set = true;
            return Ok(());
        }
        let command_set = &self.command_set;
        let data_set = &[][..];
        let message = ReceivedMessage { context_id, message, command_set, data_set, pdus: None };
        let result = arrived(message);
        self.clear();
        result
    }

    fn add_data(
        &mut self,
        pdv: &Pdv<'_>,
        arrived: &mut impl FnMut(ReceivedMessage<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.awaits_data_set {
            return Err(Rejection::new(Reason::OrphanDataSet).at(pdv.at).into());
        }
        self.count(pdv)?;
        self.data_set.extend_from_slice(pdv.fragment);
        if !pdv.is_last() {
            return Ok(());
        }
        let (command_set, data_set) = (&self.command_set, &self.data_set);
        let message = CommandSet::read(command_set)?;
        let context_id = pdv.context_id;
        let message = ReceivedMessage { context_id, message, command_set, data_set, pdus: None };
        let result = arrived(message);
        self.clear();
        result
    }

    /// Counts a fragment. All fragments of a message have the same presentation context (PS3.8
    /// E.1).
    fn count(&mut self, pdv: &Pdv<'_>) -> Result<(), Failure> {
        let expected = *self.context_id.get_or_insert(pdv.context_id);
        if expected != pdv.context_id {
            let reason = Reason::ContextChanges { expected, found: pdv.context_id };
            return Err(Rejection::new(reason).at(pdv.at).into());
        }
        self.length += pdv.fragment.len().max(1);
        match self.length > self.max_length {
            true => Err(Failure::MessageLength { most: self.max_length }),
            false => Ok(()),
        }
    }

    /// Drops the message, and the memory of a long one.
    fn clear(&mut self) {
        const KEPT: usize = 1 << 20;
        for bytes in [&mut self.command_set, &mut self.data_set] {
            bytes.clear();
            bytes.shrink_to(KEPT);
        }
        (self.context_id, self.awaits_data_set, self.length) = (None, false, 0);
    }
}

#[cfg(test)]
mod tests {
    use fastdimse_core::command_set::Value;
    use fastdimse_core::field::{Field, Kind};
    use fastdimse_core::pdu::write::{MaxPduLength, headers, write_message};
    use proptest::prelude::*;

    use super::*;

    fn command_set(message_id: u16, data_set: bool) -> Vec<u8> {
        let mut command_set = CommandSet::new(Kind::Request, data_set);
        command_set.set(Field::MessageID, Value::Us(message_id));
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.840.10008.1.20.1"));
        let mut bytes = Vec::new();
        command_set.write(&mut bytes);
        bytes
    }

    /// The PDUs of a request.
    fn pdus_of(message_id: u16, data_set: &[u8], context_id: u8, max_pdu_length: i128) -> Vec<u8> {
        let mut pdus = Vec::new();
        let max = MaxPduLength::new(max_pdu_length).unwrap();
        let command_set = command_set(message_id, !data_set.is_empty());
        let write = |out: &mut Vec<u8>| out.extend_from_slice(&command_set);
        write_message(&mut pdus, context_id, max, write, data_set);
        pdus
    }

    fn received(messages: &mut Messages, pdus: &[u8]) -> Vec<(u8, Option<u16>, Vec<u8>)> {
        let mut all = Vec::new();
        let arrived = |one: ReceivedMessage<'_>| {
            let command_set = one.message.event().unwrap();
            let id = command_set.get(Field::MessageID).us();
            all.push((one.context_id, id, one.data_set.to_vec()));
            Ok(())
        };
        messages.add(pdus, arrived).unwrap();
        all
    }

    #[test]
    fn messages_in_one_and_in_many_fragments() {
        for max_pdu_length in [0, 16, 40, 128] {
            let mut pdus = pdus_of(7, b"data set", 3, max_pdu_length);
            pdus.extend(pdus_of(8, b"", 5, max_pdu_length));
            let expected = [(3, Some(7), b"data set".to_vec()), (5, Some(8), Vec::new())];
            assert_eq!(received(&mut Messages::default(), &pdus), expected, "{max_pdu_length}");
            // One PDU after another.
            let (mut messages, mut all, mut at) = (Messages::default(), Vec::new(), 0);
            while at < pdus.len() {
                let length = u32::from_be_bytes(pdus[at + 2..at + 6].try_into().unwrap());
                let end = at + 6 + length as usize;
                all.extend(received(&mut messages, &pdus[at..end]));
                at = end;
            }
            assert_eq!(all, expected, "{max_pdu_length}");
        }
    }

    #[test]
    fn misplaced_fragments_are_rejected() {
        let pdus = pdus_of(1, b"data", 1, 0);
        let command = 6 + u32::from_be_bytes(pdus[2..6].try_into().unwrap()) as usize;
        let mut messages = Messages::default();
        assert_eq!(reason(messages.add(&pdus[command..], |_| Ok(()))), Reason::OrphanDataSet);
        let twice = pdus[..command].repeat(2);
        assert_eq!(reason(messages.add(&twice, |_| Ok(()))), Reason::MissingDataSet);
    }

    fn reason(result: Result<(), Failure>) -> Reason {
        match result {
            Err(Failure::Message(rejection)) => rejection.reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_fragments_of_a_message_have_its_context() {
        let mut pdus = pdus_of(1, b"data", 1, 0);
        let command = 6 + u32::from_be_bytes(pdus[2..6].try_into().unwrap()) as usize;
        pdus[command + 10] = 3;
        let expected = Reason::ContextChanges { expected: 1, found: 3 };
        assert_eq!(reason(Messages::default().add(&pdus, |_| Ok(()))), expected);
    }

    #[test]
    fn an_endless_message_is_too_long() {
        for fragment in [0, 1, 100] {
            let mut messages = Messages::new(1000);
            messages.add(&pdus_of(1, b"data", 1, 0)[..command_len()], |_| Ok(())).unwrap();
            let mut data = headers(1, 0, fragment).to_vec();
            data.resize(data.len() + fragment, 0);
            let ended = (0..2000).find_map(|_| messages.add(&data, |_| Ok(())).err());
            assert!(matches!(ended, Some(Failure::MessageLength { most: 1000 })), "{fragment}");
            assert!(messages.incomplete().unwrap() <= 1000);
        }
    }

    fn command_len() -> usize {
        6 + u32::from_be_bytes(pdus_of(1, b"data", 1, 0)[2..6].try_into().unwrap()) as usize
    }

    /// A message, and everything that a receiver knows of it.
    type Found = (u8, String, Vec<u8>, Vec<u8>);

    fn found(one: &ReceivedMessage<'_>) -> Found {
        let (command_set, data_set) = (one.command_set.to_vec(), one.data_set.to_vec());
        (one.context_id, format!("{:?}", one.message), command_set, data_set)
    }

    /// The first PDU, if it is complete.
    fn first_pdu(stream: &[u8]) -> Option<&[u8]> {
        let [4, _, length @ ..] = stream.first_chunk::<PDU_HEADER>()? else { return None };
        stream.get(..PDU_HEADER + u32::from_be_bytes(*length) as usize)
    }

    /// Reads complete PDUs while there is no error. The twin of [`Messages::whole`] is
    /// [`Messages::add`].
    fn read(messages: &mut Messages, stream: &[u8], max: Option<u32>) -> (Vec<Found>, String) {
        let (mut all, mut rest) = (Vec::new(), stream);
        loop {
            if let Some(whole) = max.and_then(|max| messages.whole(rest, max)) {
                let pdus = whole.pdus.unwrap();
                assert!(first_pdu(rest).unwrap().len() - PDU_HEADER <= max.unwrap() as usize);
                assert!(rest.starts_with(pdus));
                all.push(found(&whole));
                // A sink that reads the PDUs finds the same message.
                let mut again = Vec::new();
                let add = |one: ReceivedMessage<'_>| {
                    again.push(found(&one));
                    Ok(())
                };
                Messages::new(usize::MAX).add(pdus, add).unwrap();
                assert_eq!(again, all[all.len() - 1..]);
                rest = &rest[pdus.len()..];
                continue;
            }
            let Some(pdu) = first_pdu(rest) else { return (all, String::new()) };
            rest = &rest[pdu.len()..];
            let mut add = |one: ReceivedMessage<'_>| {
                all.push(found(&one));
                Ok(())
            };
            if let Err(failure) = messages.add(pdu, &mut add) {
                return (all, failure.to_string());
            }
        }
    }

    /// Whether it is a response, its numbers, a UID, its data set, presentation context and maximum PDU
    /// length.
    type Sent = (bool, u16, String, Option<Vec<u8>>, u8, i128);

    /// Requests and responses, one after another.
    fn stream(sent: &[Sent]) -> Vec<u8> {
        let mut pdus = Vec::new();
        for (response, number, uid, data_set, context_id, max_pdu_length) in sent {
            let kind = if *response { Kind::Response } else { Kind::Request };
            let mut command_set = CommandSet::new(kind, data_set.is_some());
            command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.840.10008.1.20.1"));
            command_set.set(Field::AffectedSOPInstanceUID, Value::Text(uid.as_bytes()));
            for field in [Field::MessageID, Field::MessageIDBeingRespondedTo, Field::Status] {
                command_set.set(field, Value::Us(*number));
            }
            let max = MaxPduLength::new(*max_pdu_length).unwrap();
            let write = |out: &mut Vec<u8>| command_set.write(out);
            write_message(&mut pdus, *context_id, max, write, data_set.as_deref().unwrap_or(&[]));
            if data_set.as_ref().is_some_and(Vec::is_empty) {
                pdus.extend(headers(*context_id, 2, 0));
            }
        }
        pdus
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn whole_messages_are_read_as_by_the_rules(
            sent in prop::collection::vec((
                any::<bool>(),
                any::<u16>(),
                prop_oneof!["[12](\\.[1-9]{1,4}){1,8}", "[ -~]{0,66}"],
                prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
                prop_oneof![Just(1_u8), Just(3)],
                prop_oneof![4 => Just(0_i128), 1 => Just(40)],
            ), 0..6),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            joined in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
            max_length in prop_oneof![Just(usize::MAX), 0..400_usize],
        ) {
            let mut bytes = stream(&sent);
            // The second PDU of a message on another presentation context, and the like.
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            let part = &bytes[..cut.index(bytes.len() + 1)];
            let begin = joined.index(part.len() + 1);
            for part in [&bytes[..], part, &part[begin..]] {
                let (mut fast, mut slow) = (Messages::new(max_length), Messages::new(max_length));
                let expected = read(&mut slow, part, None);
                assert_eq!(read(&mut fast, part, Some(u32::MAX)), expected);
                assert_eq!(fast.incomplete(), slow.incomplete());
                // Longer PDUs are left to the connection, which refuses them.
                read(&mut Messages::new(max_length), part, Some(200));
            }
        }
    }
}
