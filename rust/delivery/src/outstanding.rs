//! Requests without a response, by Message ID.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fastdimse_core::command_set::Message;
use fastdimse_core::field::{Field, Kind};

use crate::failure::Failure;
use crate::messages::ReceivedMessage;

/// Encoded requests.
#[derive(Debug, Clone, Copy)]
pub struct Requests<'a> {
    /// Their PDUs.
    pub bytes: &'a [u8],
    /// The offset of each request, and the end of the last one.
    pub offsets: &'a [i64],
    /// The Message IDs.
    pub message_ids: &'a [u16],
    /// The number of the first request, counted over all that are sent.
    pub first: u64,
}

impl Requests<'_> {
    /// The PDUs of some of the requests.
    pub fn pdus(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[self.offsets[from] as usize..self.offsets[to] as usize]
    }
}

/// The response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedResponse {
    /// The number of the request.
    pub request: u64,
    /// The Status (PS3.7 10.1.1.1.8).
    pub status: u16,
    /// The time from writing the request to reading the response.
    pub latency: Duration,
    /// When the response was read.
    pub time: SystemTime,
    /// The Action Reply.
    pub reply: Option<Arc<[u8]>>,
}

/// The maximum number of bytes of all replies to the requests of one call.
const MAX_REPLIES: usize = 64 << 20;

/// The requests that a response may match.
#[derive(Debug)]
pub struct Outstanding {
    requests: HashMap<u16, Sent, BuildHasherDefault<MessageIdHasher>>,
    /// The maximum number of outstanding requests.
    window: usize,
    /// When the last response was read, or the first outstanding request was written.
    last_response: Instant,
    /// The bytes of the replies since there was no outstanding request.
    replies: usize,
}

/// Hashes the Message IDs of outstanding requests. These are chosen by the local side, so a peer cannot
/// make them collide.
#[derive(Debug, Default)]
struct MessageIdHasher(u64);

impl Hasher for MessageIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u16(&mut self, id: u16) {
        // An odd factor, so that consecutive IDs differ in the low bits and in the high ones, which a
        // map uses.
        self.0 = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only Message IDs are hashed")
    }
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    request: u64,
    kind: Kind,
    time: Instant,
}

impl Outstanding {
    /// No requests, of which at most `window` may be outstanding.
    pub fn new(window: u16) -> Self {
        let window = window.into();
        Self { requests: HashMap::default(), window, last_response: Instant::now(), replies: 0 }
    }

    /// The number of outstanding requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether no request is outstanding.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Registers the requests, from this one on, that can be sent, and returns their end. A Message
    /// ID is not reused while it is outstanding (PS3.7 10.1.1.1.1).
    pub fn register(
        &mut self,
        requests: &Requests<'_>,
        kind: Kind,
        from: usize,
        time: Instant,
    ) -> usize {
        if self.requests.is_empty() {
            self.last_response = time;
            self.replies = 0;
        }
        for (place, &id) in requests.message_ids.iter().enumerate().skip(from) {
            if self.requests.len() >= self.window {
                return place;
            }
            let Entry::Vacant(vacant) = self.requests.entry(id) else { return place };
            vacant.insert(Sent { request: requests.first + place as u64, kind, time });
        }
        requests.message_ids.len()
    }

    /// The response to an outstanding request, or a description of a message that is none.
    ///
    /// # Errors
    ///
    /// If the replies are too long.
    pub fn respond(
        &mut self,
        arrived: &ReceivedMessage<'_>,
        now: Instant,
        time: SystemTime,
    ) -> Result<MatchedResponse, Result<Box<str>, Failure>> {
        let Some((id, status, kind)) = id_and_status(&arrived.message) else {
            return Err(Ok(describe(&arrived.message)));
        };
        let Entry::Occupied(request) = self.requests.entry(id) else {
            let text = format!("a response to Message ID {id}, which is not outstanding");
            return Err(Ok(text.into()));
        };
        if request.get().kind != kind {
            let (found, sent) = (arrived.message.name(), request.get().kind.name());
            return Err(Ok(format!("{found} to Message ID {id}, which is of an {sent}").into()));
        }
        let reply = match kind {
            Kind::ActionRequest if !arrived.data_set.is_empty() => Some(arrived.data_set.into()),
            _ => None,
        };
        if reply.is_some() {
            self.replies += arrived.data_set.len();
            if self.replies > MAX_REPLIES {
                return Err(Err(Failure::RepliesLength { most: MAX_REPLIES }));
            }
        }
        self.last_response = now;
        let Sent { request, time: sent, .. } = request.remove();
        Ok(MatchedResponse { request, status, latency: now - sent, time, reply })
    }

    /// Fails if a response is outstanding for too long. Messages that are not responses do not extend
    /// the timeout.
    ///
    /// # Errors
    ///
    /// If there was no response within `timeout`.
    pub fn check_timeout(&self, now: Instant, timeout: Duration) -> Result<(), Failure> {
        match !self.requests.is_empty()
            && now.saturating_duration_since(self.last_response) >= timeout
        {
            true => Err(Failure::ReadTimeout(timeout)),
            false => Ok(()),
        }
    }

    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.requests.clear();
    }
}

/// The Message ID and the Status of a response, and the kind of its request.
fn id_and_status(message: &Message<'_>) -> Option<(u16, u16, Kind)> {
    let (command_set, kind) = match message {
        Message::Event { command_set, .. } => (command_set, Kind::Request),
        Message::Action { command_set, .. } => (command_set, Kind::ActionRequest),
        Message::Other { .. } => return None,
    };
    let number = |field| command_set.get(field).us().filter(|_| command_set.kind.is_response());
    Some((number(Field::MessageIDBeingRespondedTo)?, number(Field::Status)?, kind))
}

/// The description of a message that is not a response to an outstanding request.
pub fn describe(message: &Message<'_>) -> Box<str> {
    match message {
        Message::Event { command_set, .. } | Message::Action { command_set, .. }
            if command_set.kind.is_response() =>
        {
            "a response without a Message ID or Status".into()
        }
        Message::Event { .. } | Message::Action { .. } => format!("an {}", message.name()).into(),
        Message::Other { command_field, .. } => {
            format!("a message with Command Field {command_field:#06x}").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use fastdimse_core::command_set::{CommandSet, Value};

    use super::*;

    fn response(kind: Kind, id: u16) -> ReceivedMessage<'static> {
        let mut command_set = CommandSet::new(kind, false);
        command_set.set(Field::MessageIDBeingRespondedTo, Value::Us(id));
        command_set.set(Field::Status, Value::Us(0));
        let several = Vec::new();
        let message = match kind {
            Kind::ActionResponse => Message::Action { command_set, several },
            _ => Message::Event { command_set, several },
        };
        ReceivedMessage { context_id: 1, message, command_set: &[], data_set: &[], pdus: None }
    }

    fn respond(outstanding: &mut Outstanding, kind: Kind, id: u16) -> Result<u64, Box<str>> {
        match outstanding.respond(&response(kind, id), Instant::now(), SystemTime::now()) {
            Ok(matched) => Ok(matched.request),
            Err(text) => Err(text.expect("no reply is too long")),
        }
    }

    #[test]
    fn each_id_is_outstanding_once_and_matched_once() {
        // In steps, so that IDs with equal low bits or equal high bits follow each other.
        for step in [1_u16, 256, 4097] {
            let ids: Vec<u16> = (0..4096_u16).map(|place| place.wrapping_mul(step)).collect();
            let mut distinct = ids.clone();
            distinct.sort_unstable();
            distinct.dedup();
            let (bytes, offsets, first) = (&[][..], &[][..], 100);
            let requests = Requests { bytes, offsets, message_ids: &ids, first };
            let mut outstanding = Outstanding::new(u16::MAX);
            let end = outstanding.register(&requests, Kind::Request, 0, Instant::now());
            assert_eq!((end, outstanding.len()), (distinct.len(), distinct.len()));
            assert!(end == ids.len() || ids[..end].contains(&ids[end]));
            for (place, &id) in ids[..end].iter().enumerate().rev() {
                assert!(respond(&mut outstanding, Kind::ActionResponse, id).is_err());
                assert_eq!(respond(&mut outstanding, Kind::Response, id), Ok(first + place as u64));
                assert!(respond(&mut outstanding, Kind::Response, id).is_err());
            }
            assert!(outstanding.is_empty());
        }
    }

    #[test]
    fn no_more_than_the_window_is_outstanding() {
        let (bytes, offsets, first) = (&[][..], &[][..], 0);
        let requests = Requests { bytes, offsets, message_ids: &[1, 2, 3, 4], first };
        let mut outstanding = Outstanding::new(2);
        let register = |one: &mut Outstanding, from| {
            one.register(&requests, Kind::Request, from, Instant::now())
        };
        assert_eq!(register(&mut outstanding, 0), 2);
        assert_eq!(register(&mut outstanding, 2), 2);
        assert_eq!(respond(&mut outstanding, Kind::Response, 2), Ok(1));
        assert_eq!(register(&mut outstanding, 2), 3);
    }
}
