//! Two processes that exchange messages of given sizes over plain sockets and do nothing else: the
//! upper bound for the benchmarks of delivery.
//!
//! ```text
//! raw_sockets serve REQUEST RESPONSE                           prints its port, and serves until it is killed
//! raw_sockets send PORT REQUEST RESPONSE MESSAGES OUTSTANDING  prints the duration in seconds
//! ```

use std::env;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    match arguments.first().map(String::as_str) {
        Some("serve") => serve(number(1), number(2)),
        Some("send") => {
            let stream = TcpStream::connect(("127.0.0.1", number(1) as u16))?;
            let begin = Instant::now();
            send(stream, number(2), number(3), number(4), number(5))?;
            println!("{:.9}", begin.elapsed().as_secs_f64());
            Ok(())
        }
        _ => panic!("serve or send"),
    }
}

fn serve(request: usize, response: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || respond(stream, request, response));
    }
    Ok(())
}

/// Responds to all requests that have arrived in one write.
fn respond(mut stream: TcpStream, request: usize, response: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut waiting) = (vec![0; 1 << 16], 0);
    let responses = vec![0; response * ((1 << 16) / request + 2)];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            found => waiting += found,
        }
        stream.write_all(&responses[..waiting / request * response])?;
        waiting %= request;
    }
}

/// Sends messages. Each write has half of the messages that may be outstanding.
fn send(
    mut stream: TcpStream,
    request: usize,
    response: usize,
    messages: usize,
    outstanding: usize,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let requests = vec![0; request * outstanding];
    let (mut buffer, mut waiting) = (vec![0; 1 << 16], 0);
    let (mut sent, mut responded) = (0, 0);
    while responded < messages {
        let room = (outstanding - (sent - responded)).min(messages - sent);
        stream.write_all(&requests[..room * request])?;
        sent += room;
        while sent - responded > if sent < messages { outstanding / 2 } else { 0 } {
            waiting += stream.read(&mut buffer)?;
            responded += waiting / response;
            waiting %= response;
        }
    }
    Ok(())
}
