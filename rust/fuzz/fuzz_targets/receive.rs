//! The bytes of a peer on a connection, beginning with the A-ASSOCIATE-RQ. Nothing panics, memory
//! is bounded, and each event with the sink's Status in its response was given to the sink once, in
//! order.

#![no_main]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use fastdimse_core::command_set::CommandSet;
use fastdimse_core::field::Field;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use fastdimse_delivery::association::acceptance::AcceptorOptions;
use fastdimse_delivery::messages::{Messages, ReceivedMessage};
use fastdimse_delivery::receive::event_columns::received;
use fastdimse_delivery::receive::receiver::{Chunk, Delivered, EventSink, Origin, Service, serve};
use fastdimse_delivery::receive::records::AssociationLog;
use fastdimse_delivery::responses::Response;
use fastdimse_delivery::timeouts::Timeouts;
use libfuzzer_sys::fuzz_target;

static LISTENER: LazyLock<TcpListener> =
    LazyLock::new(|| TcpListener::bind("127.0.0.1:0").expect("a port is free"));

/// The Status of the sink, which the receiver itself never uses.
const STATUS: u16 = 0xB123;

/// A sink that responds before or after it receives events.
struct Both {
    at_once: bool,
    chunks: Mutex<Vec<Chunk>>,
}

impl EventSink for Both {
    fn response(
        &self,
        _: &CommandSet<'_>,
        received: &ReceivedMessage<'_>,
        _: &Arc<Origin>,
    ) -> Option<Response> {
        self.at_once.then(|| response(received))
    }

    fn action(
        &self,
        _: &CommandSet<'_>,
        received: &ReceivedMessage<'_>,
        _: &Arc<Origin>,
    ) -> Option<Response> {
        Some(response(received))
    }

    fn receive(&self, chunk: Chunk) -> Delivered {
        let processed = Delivered::Processed(chunk.bytes.clone(), vec![STATUS; chunk.events]);
        self.chunks.lock().unwrap().push(chunk);
        if self.at_once { Delivered::Stored } else { processed }
    }
}

/// The sink's Status, and the data set of the request as its reply.
fn response(received: &ReceivedMessage<'_>) -> Response {
    let reply = (!received.data_set.is_empty()).then(|| received.data_set.to_vec());
    Response { status: STATUS, reply }
}

/// The Message IDs of the events with the sink's Status in their responses.
fn responded_ids(mut stream: &[u8]) -> Vec<u16> {
    let mut ids = Vec::new();
    let mut messages = Messages::new(usize::MAX);
    while let Some(header) = stream.first_chunk::<6>() {
        let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
        let (pdu, rest) = stream.split_at(6 + length as usize);
        stream = rest;
        let read = messages.add(pdu, |arrived| {
            let response = arrived.message.event()?;
            if response.get(Field::Status).us() == Some(STATUS) {
                ids.extend(response.get(Field::MessageIDBeingRespondedTo).us());
            }
            Ok(())
        });
        // C-ECHO-RSP and other messages are not events.
        drop(read);
    }
    ids
}

/// The Message IDs of the events that the sink received.
fn received_ids(chunks: &[Chunk]) -> Vec<u16> {
    let mut ids = Vec::new();
    for chunk in chunks {
        let read = Messages::new(usize::MAX).add(&chunk.bytes, |arrived| {
            ids.extend(arrived.message.event()?.get(Field::MessageID).us());
            Ok(())
        });
        read.expect("complete events are delivered");
    }
    ids
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, bytes)) = data.split_first() else { return };
    let acceptor = AcceptorOptions {
        sop_classes: BTreeSet::from(["1.2.840.10008.1.20.1".to_owned()]),
        called: (first & 2 > 0).then(|| "LISTENER".to_owned()),
        calling: None,
        max_pdu_length: if first & 4 > 0 { 1 << 16 } else { 4096 },
        window: 0,
        actions: first & 8 > 0,
        transfer_syntaxes: vec![TransferSyntax::default()],
    };
    let second = Duration::from_secs(1);
    let timeouts =
        Timeouts { connection: second, association: second, response: second, interrupt: None };
    let service = Service {
        acceptor,
        authenticate: None,
        tls: None,
        timeouts,
        max_message_length: 1 << 16,
        stopping: AtomicBool::new(false),
    };
    let mut peer = TcpStream::connect(LISTENER.local_addr().unwrap()).unwrap();
    let (socket, _) = LISTENER.accept().unwrap();
    // Frees the port at once.
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    let mut reading = peer.try_clone().unwrap();
    let read = std::thread::spawn(move || {
        let mut responses = Vec::new();
        // Data before a reset is still read.
        let _ = reading.read_to_end(&mut responses);
        responses
    });
    peer.write_all(bytes).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let sink = Both { at_once: first & 1 > 0, chunks: Mutex::default() };
    let log = AssociationLog::new(Arc::default(), 1, peer.local_addr().unwrap());
    let _ = serve(socket, 1, &service, &sink, &log);
    let responses = read.join().unwrap();
    let chunks = sink.chunks.into_inner().unwrap();
    let events: usize = chunks.iter().map(|chunk| chunk.events).sum();
    let rows = received(&chunks).iter().map(|batch| batch.num_rows()).sum::<usize>();
    assert_eq!(rows, events);
    // Responses before an A-ABORT or a reset can be lost, but the sink has received every event with
    // a response.
    let (responded, received) = (responded_ids(&responses), received_ids(&chunks));
    assert!(received.starts_with(&responded), "{responded:?} of {received:?}");
});
