//! The operations of a delivery whose instructions are counted, without those of the system.
//!
//! `./dev instructions` runs each operation, `instructions OPERATION`, in a process of its own under
//! callgrind, which counts only inside [`counted`]. Without an argument, all operations run. Prints
//! the number of events, and the registers in which UIDs were checked.
//!
//! Sender and receiver are those of `connect` and `listen`, in two threads with a connection between
//! them and a window of 64. Only one of the threads is counted.

use std::collections::BTreeSet;
use std::env;
use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, UInt16Array};
use fastdimse_core::command_set::CommandSet;
use fastdimse_core::field::Kind;
use fastdimse_core::standard::transfer_syntax::TransferSyntax;
use fastdimse_delivery::association::acceptance::AcceptorOptions;
use fastdimse_delivery::association::negotiation::{Proposal, Role};
use fastdimse_delivery::messages::ReceivedMessage;
use fastdimse_delivery::outstanding::Requests;
use fastdimse_delivery::receive::event_columns::received;
use fastdimse_delivery::receive::receiver::{Chunk, Delivered, EventSink, Origin, Service, serve};
use fastdimse_delivery::receive::records::AssociationLog;
use fastdimse_delivery::responses::Response;
use fastdimse_delivery::send::requests::encode_requests;
use fastdimse_delivery::send::sender::{Control, Sender};
use fastdimse_delivery::timeouts::Timeouts;

const BATCH: usize = 4096;
const EVENTS: usize = 5 * BATCH;
const WINDOW: u16 = 64;
const SOP_CLASS: &str = "1.2.840.10008.1.20.1";

const TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUTS: Timeouts =
    Timeouts { connection: TIMEOUT, association: TIMEOUT, response: TIMEOUT, interrupt: None };

/// callgrind counts only inside this function.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Runs `work`, counted or not.
fn run<T>(is_counted: bool, work: impl FnOnce() -> T) -> T {
    if is_counted { counted(work) } else { work() }
}

/// Keeps the events, as the queue of a listener without a handler does.
#[derive(Default)]
struct Kept(Mutex<Vec<Chunk>>);

impl EventSink for Kept {
    fn response(
        &self,
        _: &CommandSet<'_>,
        _: &ReceivedMessage<'_>,
        _: &Arc<Origin>,
    ) -> Option<Response> {
        Some(Response::SUCCESS)
    }

    fn receive(&self, chunk: Chunk) -> Delivered {
        self.0.lock().expect("no thread has failed").push(chunk);
        Delivered::Stored
    }
}

fn events() -> RecordBatch {
    // Distinct UIDs of 47 characters.
    let instances = (0..BATCH)
        .map(|row| format!("1.2.826.0.1.3680043.8.498.{}", 10_u128.pow(20) + row as u128));
    RecordBatch::try_from_iter([
        ("AffectedSOPClassUID", Arc::new(StringArray::from(vec![SOP_CLASS; BATCH])) as ArrayRef),
        ("AffectedSOPInstanceUID", Arc::new(StringArray::from_iter_values(instances))),
        ("EventTypeID", Arc::new(UInt16Array::from(vec![1; BATCH]))),
        ("EventInformation", Arc::new(BinaryArray::from(vec![&[0x20; 100][..]; BATCH]))),
    ])
    .expect("columns of one length")
}

fn connect(listener: &TcpListener) -> Sender {
    let proposal = Proposal {
        calling: "SENDER".to_owned(),
        called: "RECEIVER".to_owned(),
        sop_classes: vec![SOP_CLASS.to_owned()],
        role: Role::Scp,
        transfer_syntaxes: vec![TransferSyntax::default()],
        max_pdu_length: 16382,
        window: WINDOW,
        user: None,
    };
    let address = listener.local_addr().expect("it is bound");
    Sender::open(address, None, &proposal, TIMEOUTS, None).expect("the receiver accepts")
}

/// Sends all events, a batch at a time, and waits for their responses.
fn send(sender: &mut Sender, events: &RecordBatch) {
    let syntax = TransferSyntax::default();
    let (mut responses, mut control) = (Vec::new(), |_| Control::Continue);
    for first in (0..EVENTS as u64).step_by(BATCH) {
        let rejected = Vec::new();
        let requests =
            encode_requests(events, rejected, syntax, sender.agreement(), first, true).unwrap();
        let (bytes, offsets) = (&requests.encoded.bytes, &requests.encoded.offsets);
        let message_ids = &requests.message_ids;
        let requests = Requests { bytes, offsets, message_ids, first };
        let mut sent = 0;
        sender.send(requests, Kind::Request, &mut sent, &mut responses, &mut control).unwrap();
    }
    sender.finish(&mut responses, &mut control).unwrap();
    assert_eq!(responses.len(), EVENTS);
    assert!(responses.iter().all(|response| response.status == 0));
}

fn receive(socket: TcpStream) -> Vec<Chunk> {
    let acceptor = AcceptorOptions {
        sop_classes: BTreeSet::from([SOP_CLASS.to_owned()]),
        called: None,
        calling: None,
        max_pdu_length: 16382,
        window: 0,
        actions: false,
        transfer_syntaxes: vec![TransferSyntax::default()],
    };
    let service = Service {
        acceptor,
        authenticate: None,
        tls: None,
        timeouts: TIMEOUTS,
        max_message_length: 64 << 20,
        stopping: AtomicBool::new(false),
    };
    let peer = socket.peer_addr().expect("it is connected");
    let (sink, log) = (Kept::default(), AssociationLog::new(Arc::default(), 1, peer));
    serve(socket, 1, &service, &sink, &log).expect("the sender releases the association");
    sink.0.into_inner().expect("no thread has failed")
}

/// Delivers all events, and returns them as received.
fn deliver(counts_sender: bool, counts_receiver: bool) -> Vec<Chunk> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let events = events();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (socket, _) = listener.accept().expect("the sender connects");
            run(counts_receiver, || receive(socket))
        });
        let mut sender = connect(&listener);
        run(counts_sender, || send(&mut sender, black_box(&events)));
        sender.release().expect("the receiver responds");
        receiver.join().expect("it does not panic")
    })
}

fn received_columns() {
    let chunks = deliver(false, false);
    assert!(chunks.len() > 1);
    let rows: usize =
        counted(|| received(black_box(&chunks))).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, EVENTS);
}

fn registers() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "AVX2";
    }
    env::consts::ARCH
}

fn main() {
    // Cargo adds `--bench`.
    let asked: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let operations: [(&str, fn()); 3] = [
        ("send", || drop(deliver(true, false))),
        ("receive", || drop(deliver(false, true))),
        ("columns of received events", received_columns),
    ];
    for (name, operation) in operations {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            operation();
            println!("{EVENTS}\t{}\t{name}", registers());
        }
    }
}
