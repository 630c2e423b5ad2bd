//! Messages put together from the PDVs they come in (PS3.8 E).

use fastdimse_core::command_set::{CommandSet, Message};
use fastdimse_core::error::{Reason, Rejection};
use fastdimse_core::pdu::{Item, Pdus, Pdv};

/// A message that is complete.
#[derive(Debug)]
pub struct Arrived<'a> {
    /// The presentation context.
    pub context_id: u8,
    /// What its command set says.
    pub message: Message<'a>,
    /// Its data set, of no bytes where there is none.
    pub data_set: &'a [u8],
}

/// Puts messages together.
#[derive(Debug, Default)]
pub struct Messages {
    command_set: Vec<u8>,
    data_set: Vec<u8>,
    /// The context whose data set is awaited.
    awaited: Option<u8>,
}

impl Messages {
    /// Takes the PDVs of a whole P-DATA-TF PDU, and gives each message that is complete then.
    ///
    /// # Errors
    /// If a PDV or a command set is against the rules.
    pub fn take(
        &mut self,
        pdu: &[u8],
        mut arrived: impl FnMut(Arrived<'_>),
    ) -> Result<(), Rejection> {
        for item in Pdus::new(pdu) {
            let Item::Pdv(pdv) = item? else { continue };
            match pdv.is_command() {
                true => self.take_command(&pdv, &mut arrived)?,
                false => self.take_data(&pdv, &mut arrived)?,
            }
        }
        Ok(())
    }

    /// Whether nothing is begun.
    pub fn are_whole(&self) -> bool {
        self.command_set.is_empty()
    }

    /// How many bytes of a message that is begun there are.
    pub fn length(&self) -> usize {
        self.command_set.len() + self.data_set.len()
    }

    fn take_command(
        &mut self,
        pdv: &Pdv<'_>,
        arrived: &mut impl FnMut(Arrived<'_>),
    ) -> Result<(), Rejection> {
        if self.awaited.is_some() {
            return Err(Rejection::new(Reason::MissingDataSet).at(pdv.at));
        }
        let context_id = pdv.context_id;
        // Most come in one piece, and most answers have no data set: then nothing is copied.
        if self.command_set.is_empty() && pdv.is_last() {
            let message = CommandSet::read(pdv.fragment)?;
            if !message.data_set() {
                arrived(Arrived { context_id, message, data_set: &[] });
                return Ok(());
            }
        }
        self.command_set.extend_from_slice(pdv.fragment);
        if !pdv.is_last() {
            return Ok(());
        }
        let message = CommandSet::read(&self.command_set)?;
        if message.data_set() {
            self.awaited = Some(context_id);
        } else {
            arrived(Arrived { context_id, message, data_set: &[] });
            self.command_set.clear();
        }
        Ok(())
    }

    fn take_data(
        &mut self,
        pdv: &Pdv<'_>,
        arrived: &mut impl FnMut(Arrived<'_>),
    ) -> Result<(), Rejection> {
        if self.awaited != Some(pdv.context_id) {
            return Err(Rejection::new(Reason::OrphanDataSet).at(pdv.at));
        }
        self.data_set.extend_from_slice(pdv.fragment);
        if pdv.is_last() {
            let message = CommandSet::read(&self.command_set)?;
            arrived(Arrived { context_id: pdv.context_id, message, data_set: &self.data_set });
            self.command_set.clear();
            self.data_set.clear();
            self.awaited = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fastdimse_core::command_set::{Field, Kind, Value};
    use fastdimse_core::pdv::{MaxPduLength, write_message};

    use super::*;

    fn command_set(message_id: u16, data_set: bool) -> Vec<u8> {
        let mut command_set = CommandSet::new(Kind::Request, data_set);
        command_set.set(Field::MessageID, Value::Us(message_id));
        command_set.set(Field::AffectedSOPClassUID, Value::Text(b"1.2.840.10008.1.20.1"));
        let mut bytes = Vec::new();
        command_set.write(&mut bytes);
        bytes
    }

    /// A request as PDUs.
    fn pdus_of(message_id: u16, data_set: &[u8], context_id: u8, max_pdu_length: i128) -> Vec<u8> {
        let mut pdus = Vec::new();
        let max = MaxPduLength::new(max_pdu_length).unwrap();
        let command_set = command_set(message_id, !data_set.is_empty());
        let write = |out: &mut Vec<u8>| out.extend_from_slice(&command_set);
        write_message(&mut pdus, context_id, max, write, data_set);
        pdus
    }

    fn taken(messages: &mut Messages, pdus: &[u8]) -> Vec<(u8, Option<u16>, Vec<u8>)> {
        let mut all = Vec::new();
        let arrived = |one: Arrived<'_>| {
            let command_set = one.message.event().unwrap();
            let id = command_set.get(Field::MessageID).us();
            all.push((one.context_id, id, one.data_set.to_vec()));
        };
        messages.take(pdus, arrived).unwrap();
        all
    }

    #[test]
    fn messages_in_one_piece_and_in_many() {
        for max_pdu_length in [0, 16, 40, 128] {
            let mut pdus = pdus_of(7, b"data set", 3, max_pdu_length);
            pdus.extend(pdus_of(8, b"", 5, max_pdu_length));
            let expected = [(3, Some(7), b"data set".to_vec()), (5, Some(8), Vec::new())];
            assert_eq!(taken(&mut Messages::default(), &pdus), expected, "{max_pdu_length}");
            // PDU by PDU.
            let (mut messages, mut all, mut at) = (Messages::default(), Vec::new(), 0);
            while at < pdus.len() {
                let length = u32::from_be_bytes(pdus[at + 2..at + 6].try_into().unwrap());
                let end = at + 6 + length as usize;
                all.extend(taken(&mut messages, &pdus[at..end]));
                at = end;
            }
            assert_eq!(all, expected, "{max_pdu_length}");
        }
    }

    #[test]
    fn fragments_out_of_place_are_refused() {
        let whole = pdus_of(1, b"data", 1, 0);
        let command = 6 + u32::from_be_bytes(whole[2..6].try_into().unwrap()) as usize;
        let mut messages = Messages::default();
        let error = messages.take(&whole[command..], |_| ()).unwrap_err();
        assert_eq!(error.reason, Reason::OrphanDataSet);
        let twice = whole[..command].repeat(2);
        let error = messages.take(&twice, |_| ()).unwrap_err();
        assert_eq!(error.reason, Reason::MissingDataSet);
    }
}
