//! A peer's bytes over a connection, from the A-ASSOCIATE-RQ on: nothing panics, and what is handed on
//! are whole events.

#![no_main]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use fastdimse_core::command_set::CommandSet;
use fastdimse_delivery::acceptance::Terms;
use fastdimse_delivery::connection::Patience;
use fastdimse_delivery::receive::{Answer, Chunk, Origin, Service, Taker, serve};
use fastdimse_delivery::received::received;
use libfuzzer_sys::fuzz_target;

static LISTENER: LazyLock<TcpListener> =
    LazyLock::new(|| TcpListener::bind("127.0.0.1:0").expect("a port is free"));

/// Takes what comes, and answers at once or afterwards.
struct Both {
    at_once: bool,
    chunks: Mutex<Vec<Chunk>>,
}

impl Taker for Both {
    fn answer(&self, _: &CommandSet<'_>, data_set: &[u8], _: u8, _: &Origin) -> Option<Answer> {
        let event_reply = (!data_set.is_empty()).then(|| data_set.to_vec());
        self.at_once.then_some(Answer { status: 0, event_reply })
    }

    fn take(&self, chunk: Chunk) -> Option<(Vec<u8>, Vec<u16>)> {
        let bytes = chunk.bytes.clone();
        let statuses = vec![0x0112; chunk.events];
        self.chunks.lock().unwrap().push(chunk);
        (!self.at_once).then_some((bytes, statuses))
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, bytes)) = data.split_first() else { return };
    let terms = Terms {
        sop_classes: BTreeSet::from(["1.2.840.10008.1.20.1".to_owned()]),
        called: (first & 2 > 0).then(|| "LISTENER".to_owned()),
        calling: None,
        max_pdu_length: if first & 4 > 0 { 0 } else { 4096 },
        window: 0,
    };
    let second = Duration::from_secs(1);
    let patience = Patience { connection: second, association: second, response: second };
    let service = Service { terms, admits: None, tls: None, patience, longest: 1 << 16 };
    let mut peer = TcpStream::connect(LISTENER.local_addr().unwrap()).unwrap();
    let (socket, _) = LISTENER.accept().unwrap();
    // The port is to be free again at once.
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    peer.write_all(bytes).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let taker = Both { at_once: first & 1 > 0, chunks: Mutex::default() };
    let _ = serve(socket, 1, &service, &taker);
    let chunks = taker.chunks.into_inner().unwrap();
    let events: usize = chunks.iter().map(|chunk| chunk.events).sum();
    let found = received(&chunks);
    assert_eq!(found.events.num_rows() + found.rejected.len(), events);
});
