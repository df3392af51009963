//! Ten thousand clients that hang up wherever they are, over real connections, beside a good one.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{
    client::DEADLINE,
    server::{self, CHAT, COMPLETIONS, Server, chat_body, until},
};

const DISCONNECTS: usize = 10_000;
const CLIENTS: usize = 8;

struct Random(ChaCha8Rng);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }
}

/// One client: a request, streamed or not, chat or completion, of one or several answers; sent and read
/// as far as chance says.
fn hang_up(address: SocketAddr, random: &mut Random) -> std::io::Result<()> {
    let stream = random.below(2) == 0;
    let prompt = "abc".repeat(1 + random.below(30));
    let more = json!({
        "stream": stream, "n": 1 + random.below(3), "max_tokens": 1 + random.below(20)
    });
    let (path, body) = match random.below(2) {
        0 => (CHAT, chat_body(&prompt, more)),
        _ => (COMPLETIONS, server::with(json!({"prompt": prompt}), more)),
    };
    let body = body.to_string();
    let length = body.len();
    let how = random.below(8);
    // Who reads is not to wait for a next answer.
    let connection = if how > 4 { "close" } else { "keep-alive" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(DEADLINE))?;
    let whole = [head.as_bytes(), body.as_bytes()].concat();
    let mut buffer = [0; 700];
    match how {
        // In the head, in the body, right after it, or with one way closed only.
        0 => connection.write_all(&whole[..random.below(head.len())])?,
        1 => connection.write_all(&whole[..head.len() + random.below(length)])?,
        2 => connection.write_all(&whole)?,
        3 => {
            connection.write_all(&whole)?;
            connection.shutdown(Shutdown::Write)?;
        }
        // With a second request behind the first.
        4 => {
            connection.write_all(&whole)?;
            connection.write_all(&whole)?;
        }
        // After some of the answer, or nearly all.
        _ => {
            connection.write_all(&whole)?;
            for _ in 0..random.below(6) {
                let bytes = 1 + random.below(buffer.len() - 1);
                if connection.read(&mut buffer[..bytes])? == 0 {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// A request that must be answered, and rightly; a full queue is an honest answer, too.
fn be_good(server: &Server) {
    let reply = server.complete(json!("abc"), json!({"max_tokens": 4}));
    match reply.status {
        503 => {}
        _ => assert_eq!(reply.json()["choices"][0]["text"], "defg"),
    }
}

fn at_rest(server: &Server) -> bool {
    [
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
    ]
    .iter()
    .all(|gauge| server.metric(gauge) == 0.0)
}

#[test]
fn ten_thousand_disconnects_leave_the_server_as_it_was() {
    let seed: u64 = std::env::var("CANDELA_TEST_SEED").map_or_else(
        |_| rand::random::<u64>() >> 8,
        |seed| seed.parse().expect("a seed is a number"),
    );
    println!("CANDELA_TEST_SEED={seed} replays this");
    let server = server::start(|_| {});
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (server, done) = (&server, &done);
        for client in 0..CLIENTS as u64 {
            scope.spawn(move || {
                let mut random = Random(ChaCha8Rng::seed_from_u64(seed + client));
                loop {
                    let count = done.fetch_add(1, Ordering::Relaxed);
                    if count >= DISCONNECTS {
                        return;
                    }
                    // The server may be first to close.
                    let _ = hang_up(server.address, &mut random);
                    if count.is_multiple_of(50) {
                        be_good(server);
                    }
                }
            });
        }
    });
    until("nothing is left of them", || at_rest(&server));
    let sum = |name: &str| {
        let text = server.get("/metrics");
        let lines = text.text().lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
    };
    let (billed, busy) = (
        sum("candela:request_compute_seconds_total"),
        sum("candela:engine_busy_seconds_total"),
    );
    assert!(
        (billed - busy).abs() <= busy / 1e3,
        "billed {billed}, busy {busy}"
    );
    let ended = |reason: &str| {
        let labels = format!("{{engine=\"0\",finished_reason=\"{reason}\",model_name=\"fake\"}}");
        server.metric(&format!("vllm:request_success_total{labels}"))
    };
    assert!(ended("abort") > 100.0 && ended("length") > 100.0);
    assert_eq!(ended("error"), 0.0);
}
