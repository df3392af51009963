//! Peers that are slow, silent, or many. Every limit is a flag, set low here, and a named constant.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use candela_engine::server::limits;
use candela_flags::{
    BodyMemoryBytes, Connections, DrainSeconds, MaxBodyBytes, PeerSeconds,
    connection::ConnectionFlags,
};
use serde_json::json;

use crate::{
    client::DEADLINE,
    server::{self, CHAT, COMPLETIONS, JSON, Server, chat_body, until},
};

const HEAD: &str = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";

fn with_limits(change: impl FnOnce(&mut ConnectionFlags)) -> Server {
    server::start(|flags| change(&mut flags.connection))
}

fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Everything that comes until the server closes; a reset is an end as well.
fn to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the connection stays open: {error}"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends a byte now and then, until the other end does not take it any more.
fn drip(mut stream: TcpStream, byte: u8) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while stream.write_all(&[byte]).is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    })
}

#[test]
fn a_head_that_does_not_come_and_an_idle_connection_are_given_up() {
    let server = with_limits(|limits| limits.timeout_keep_alive = PeerSeconds::of::<1>());
    let mut silent = raw(&server);
    let mut half = raw(&server);
    half.write_all(b"GET /health HT").unwrap();
    let mut slow = raw(&server);
    slow.write_all(b"GET /health HTTP/1.1\r\nX: ").unwrap();
    let dripping = drip(slow.try_clone().unwrap(), b'a');
    let mut idle = raw(&server);
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert!(to_the_end(&mut idle).starts_with("HTTP/1.1 200"));
    for stream in [&mut silent, &mut half, &mut slow] {
        assert!(!to_the_end(stream).contains("200"));
        stream.shutdown(Shutdown::Both).ok();
    }
    dripping.join().unwrap();
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_body_that_does_not_come_is_a_timeout_and_the_connection_ends() {
    let server = with_limits(|limits| limits.timeout_body = PeerSeconds::of::<1>());
    for path in [CHAT, COMPLETIONS] {
        let mut slow = raw(&server);
        let head = HEAD.replace(COMPLETIONS, path);
        write!(slow, "{head}Content-Length: 1000000\r\n\r\n{{").unwrap();
        let dripping = drip(slow.try_clone().unwrap(), b' ');
        let reply = to_the_end(&mut slow);
        assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
        assert!(
            reply.contains("RequestTimeoutError") && reply.contains("1 seconds"),
            "{reply}"
        );
        slow.shutdown(Shutdown::Both).ok();
        dripping.join().unwrap();
    }
}

#[test]
fn a_reader_that_never_reads_is_given_up_and_what_it_held_is_free() {
    let server = server::start(|flags| {
        flags.connection.timeout_write = PeerSeconds::of::<1>();
        flags.drain_grace = DrainSeconds::of::<0>();
        flags.shutdown_timeout = DrainSeconds::of::<600>();
    });
    // Far more than the sockets between the two hold.
    let body = chat_body("a", json!({"stream": true, "n": 128, "max_tokens": 250})).to_string();
    let mut never = raw(&server);
    let length = body.len();
    let head = HEAD.replace(COMPLETIONS, CHAT);
    write!(never, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
    until("it is answered", || {
        server.metric("vllm:request_params_n_count") >= 1.0
    });
    // The shutdown waits for every answer's last byte: it ends with the reader that is given up.
    server.signals.try_send(()).unwrap();
    until("nobody is waited for", || server.is_over());
    server.outcome().unwrap();
    drop(never);
}

#[test]
fn a_connection_beyond_the_limit_is_closed_at_once() {
    let server = with_limits(|limits| limits.max_connections = Connections::of::<8>());
    let request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    let served = |stream: &mut TcpStream| {
        let mut buffer = [0; 12];
        stream.write_all(request).is_ok()
            && stream.read_exact(&mut buffer).is_ok()
            && &buffer == b"HTTP/1.1 200"
    };
    // Those of the helper that waited for the server to be ready may still be there for a moment.
    let mut open = Vec::new();
    until("eight are served", || {
        let mut stream = raw(&server);
        if served(&mut stream) {
            open.push(stream);
        }
        open.len() == 8
    });
    let mut ninth = raw(&server);
    assert!(!served(&mut ninth));
    open.pop();
    until("a place is free", || served(&mut raw(&server)));
}

#[test]
fn a_thousand_idle_and_half_open_connections_do_not_disturb_a_good_client() {
    const PEERS: usize = 1_000;
    // Both ends of each are in this process.
    let files = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(files);
    limit.current = limit.maximum;
    rustix::process::setrlimit(files, limit).unwrap();
    let server = with_limits(|limits| {
        limits.timeout_keep_alive = PeerSeconds::of::<600>();
        limits.timeout_body = PeerSeconds::of::<600>();
    });
    let peers: Vec<TcpStream> = (0..PEERS)
        .map(|i| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            match i % 3 {
                0 => {}
                1 => stream.write_all(b"GET /health HTTP/1.1\r\nHost:").unwrap(),
                _ => write!(stream, "{HEAD}Content-Length: 50\r\n\r\n{{").unwrap(),
            }
            stream
        })
        .collect();
    for i in 0..50 {
        let reply = server.complete(json!("abc"), json!({"max_tokens": 3 + i % 5}));
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(
            reply.json()["choices"][0]["text"]
                .as_str()
                .unwrap()
                .starts_with("def")
        );
    }
    // They are still there: the good client was not served because they were gone.
    let mut first = &peers[1];
    first.write_all(b" a\r\n\r\n").unwrap();
    let mut status = [0; 12];
    first.set_read_timeout(Some(DEADLINE)).unwrap();
    first.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[test]
fn uploads_share_a_budget_and_small_requests_have_their_own() {
    let server = server::start(|flags| {
        flags.max_body_bytes = MaxBodyBytes::of::<65_536>();
        flags.connection.max_body_memory_bytes = BodyMemoryBytes::of::<262_144>();
    });
    // Three of them fit in three quarters of the budget.
    let body =
        json!({"prompt": "a", "user": "", "max_tokens": 1, "x": "y".repeat(59_900)}).to_string();
    let (most, rest) = body.split_at(60_000.min(body.len() - 1));
    let mut uploads: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = raw(&server);
            write!(
                stream,
                "{HEAD}Connection: close\r\nContent-Length: {}\r\n\r\n{most}",
                body.len()
            )
            .unwrap();
            stream
        })
        .collect();
    let mut refused = Vec::new();
    until("half of them are refused", || {
        for (i, stream) in uploads.iter().enumerate() {
            stream.set_nonblocking(true).unwrap();
            if !refused.contains(&i) && stream.peek(&mut [0]).is_ok_and(|n| n > 0) {
                refused.push(i);
            }
            stream.set_nonblocking(false).unwrap();
        }
        refused.len() >= 4
    });
    assert_eq!(
        server.complete(json!("a"), json!({"max_tokens": 1})).status,
        200
    );
    let mut statuses = Vec::new();
    for (i, stream) in uploads.iter_mut().enumerate() {
        // A refused one may be closed already.
        let _ = stream.write_all(rest.as_bytes());
        let reply = to_the_end(stream);
        let status = reply.get(9..12).unwrap_or("gone").to_owned();
        if refused.contains(&i) && status == "503" {
            assert!(reply.to_lowercase().contains("retry-after: 1"), "{reply}");
            assert!(reply.contains("ServiceUnavailableError"), "{reply}");
        }
        statuses.push(status);
    }
    let count = |status: &str| statuses.iter().filter(|s| *s == status).count();
    assert!(count("503") >= 4 && count("200") >= 1, "{statuses:?}");
    assert_eq!(count("503") + count("200"), 8, "{statuses:?}");
    let reply = server.send("POST", COMPLETIONS, &[JSON], body.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn a_head_that_is_too_large_gets_an_error_object_and_an_absurd_one_the_bare_status() {
    let server = server::start(|_| {});
    let head = |headers: usize, bytes: usize| {
        let value = "a".repeat(bytes);
        let headers: String = (0..headers)
            .map(|i| format!("X-{i}: {value}\r\n"))
            .collect();
        let mut stream = raw(&server);
        let request =
            format!("GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
        // The server may answer, and close, before it has read all of it.
        let _ = stream.write_all(request.as_bytes());
        to_the_end(&mut stream)
    };
    assert!(head(limits::HEADERS_MAX - 2, 8).starts_with("HTTP/1.1 200"));
    for (headers, bytes) in [(limits::HEADERS_MAX + 1, 8), (1, limits::HEADER_BYTES_MAX)] {
        let reply = head(headers, bytes);
        assert!(reply.starts_with("HTTP/1.1 431"), "{reply}");
        assert!(
            reply.contains("RequestHeaderFieldsTooLargeError"),
            "{reply}"
        );
    }
    for (headers, bytes) in [
        (limits::HEADERS_MAX * 2 + 1, 8),
        (1, limits::HEADER_BYTES_MAX * 3),
    ] {
        let reply = head(headers, bytes);
        assert!(
            reply.is_empty() || reply.starts_with("HTTP/1.1 431"),
            "{reply}"
        );
    }
    assert_eq!(server.get("/health").status, 200);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An HTTP/2 connection with these settings.
fn http2(server: &Server, settings: &[(u16, u32)]) -> TcpStream {
    let mut stream = raw(server);
    let settings = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    let settings: Vec<u8> = settings.collect();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &settings)).unwrap();
    stream
}

/// The frames of a request: its head, and its body if it has one. No name or value is compressed.
fn http2_request(id: u32, path: &str, body: &[u8]) -> Vec<u8> {
    let method = if body.is_empty() { 0x82 } else { 0x83 };
    let head = [
        &[method, 0x86, 0x41, 1, b'a', 0x04, path.len() as u8][..],
        path.as_bytes(),
        &[0x0f, 0x10, JSON.1.len() as u8],
        JSON.1.as_bytes(),
    ];
    let ends = if body.is_empty() { 5 } else { 4 };
    let mut frames = frame(HEADERS, ends, id, &head.concat());
    if !body.is_empty() {
        frames.extend(frame(DATA, 1, id, body));
    }
    frames
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// The next frame: its kind and payload; `None` when the connection has ended.
fn next_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], payload))
}

#[test]
fn an_http2_peer_that_takes_nothing_is_given_up_stream_and_connection() {
    let server = server::start(|flags| {
        flags.connection.timeout_write = PeerSeconds::of::<1>();
        // It answers no pings, which is not what it is given up for here.
        flags.connection.timeout_keep_alive = PeerSeconds::of::<600>();
        flags.drain_grace = DrainSeconds::of::<0>();
        flags.shutdown_timeout = DrainSeconds::of::<600>();
    });
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut never = http2(&server, &[(INITIAL_WINDOW_SIZE, 0)]);
    let body = chat_body("a", json!({"stream": true, "max_tokens": 250})).to_string();
    never
        .write_all(&http2_request(1, CHAT, body.as_bytes()))
        .unwrap();
    while next_frame(&mut never).unwrap().0 != HEADERS {}
    // The shutdown waits for every answer's last byte: it ends with the answer that is given up.
    server.signals.try_send(()).unwrap();
    until("nobody is waited for", || server.is_over());
    server.outcome().unwrap();
}

#[test]
fn an_idle_http2_connection_is_closed_although_it_answers_pings() {
    let server = with_limits(|limits| limits.timeout_keep_alive = PeerSeconds::of::<1>());
    let mut stream = http2(&server, &[]);
    stream.write_all(&http2_request(1, "/health", b"")).unwrap();
    let (mut pings, mut told) = (0, false);
    while let Some((kind, payload)) = next_frame(&mut stream) {
        told |= kind == GOAWAY;
        // Answers to answers are no pings, and a peer that is gone is not answered.
        if kind == PING && stream.write_all(&frame(PING, 1, 0, &payload)).is_ok() {
            pings += 1;
            assert!(pings < 20, "the connection is still there");
        }
    }
    assert!(told);
}

#[test]
fn an_http2_answer_comes_whole_in_pieces() {
    let server = server::start(|_| {});
    let mut stream = http2(&server, &[]);
    stream
        .write_all(&http2_request(1, "/openapi.json", b""))
        .unwrap();
    let expected = server.get("/openapi.json").body;
    assert!(expected.len() > 2 * limits::HTTP2_CHUNK_BYTES_MAX);
    let mut body = Vec::new();
    while body.len() < expected.len() {
        let (kind, payload) = next_frame(&mut stream).unwrap();
        if kind == DATA {
            // As much again, of the stream and of the connection.
            let more = (payload.len() as u32).to_be_bytes();
            for id in [0, 1] {
                if !payload.is_empty() {
                    stream
                        .write_all(&frame(WINDOW_UPDATE, 0, id, &more))
                        .unwrap();
                }
            }
            body.extend(payload);
        }
    }
    assert_eq!(body, expected);
}

#[test]
fn an_http2_peer_is_told_its_limits_and_a_silent_one_is_given_up() {
    let server = with_limits(|limits| limits.timeout_keep_alive = PeerSeconds::of::<1>());
    let mut stream = raw(&server);
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    let (kind, settings) = next_frame(&mut stream).unwrap();
    assert_eq!(kind, SETTINGS);
    let setting = |id: u16| {
        let found = settings.chunks(6).find(|s| s[..2] == id.to_be_bytes());
        found.map(|s| u32::from_be_bytes(s[2..].try_into().unwrap()))
    };
    assert_eq!(setting(3), Some(limits::HTTP2_STREAMS_MAX));
    assert_eq!(setting(6), Some(limits::HEADER_BYTES_MAX as u32 * 2));
    // Its pings are not answered.
    while next_frame(&mut stream).is_some() {}
}

#[test]
fn an_http2_peer_that_resets_its_requests_as_it_sends_them_is_cut_off() {
    let server = server::start(|_| {});
    let mut stream = raw(&server);
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    // GET http://a/ from HPACK's static table; its end of headers and of stream.
    let request = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let flood: Vec<u8> = (0..20_000u32)
        .flat_map(|i| {
            let id = 2 * i + 1;
            let cancel = 8u32.to_be_bytes();
            [frame(1, 5, id, &request), frame(RST_STREAM, 0, id, &cancel)].concat()
        })
        .collect();
    let sent = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut writer = stream.try_clone().unwrap();
        let (flood, sent) = (&flood, &sent);
        scope.spawn(move || {
            sent.store(writer.write_all(flood).is_ok(), Ordering::Relaxed);
            writer.shutdown(Shutdown::Write).ok();
        });
        let mut reason = None;
        while let Some((kind, payload)) = next_frame(&mut stream) {
            if kind == GOAWAY {
                reason = payload
                    .get(4..8)
                    .map(|code| u32::from_be_bytes(code.try_into().unwrap()));
            }
        }
        const ENHANCE_YOUR_CALM: u32 = 11;
        // A reset of the connection can outrun the frame that says why.
        assert!(
            reason.is_none_or(|reason| reason == ENHANCE_YOUR_CALM),
            "{reason:?}"
        );
        assert!(reason.is_some() || !sent.load(Ordering::Relaxed));
    });
    assert_eq!(server.get("/health").status, 200);
}
