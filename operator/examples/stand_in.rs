//! Stands in for `candela-engine` in the tests of `local`, which are about finding, starting, asking,
//! showing and ending a process. It reads its arguments with the engine's own parser, answers one
//! fixed chat completion, and can be told by `RUST_LOG` to die at start.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

use candela_flags::{EngineFlags, parse_engine_flags};

fn main() -> std::io::Result<()> {
    let flags = match parse_engine_flags(std::env::args_os()) {
        Ok(flags) => flags,
        Err(error) => error.exit(),
    };
    if std::env::var("RUST_LOG").as_deref() == Ok("die") {
        eprintln!("loading {}", flags.model);
        eprintln!("error: config.json is missing");
        std::process::exit(3);
    }
    let listener = TcpListener::bind((flags.host, flags.port))?;
    for stream in listener.incoming() {
        // A caller that hangs up is no reason to end.
        let _ = answer(stream?, &flags);
    }
    Ok(())
}

fn answer(mut stream: TcpStream, flags: &EngineFlags) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked = line.contains("/v1/chat/completions");
    let headers = match asked && flags.enable_request_stats_headers {
        true => "x-vllm-total-time: 12.50\r\nx-vllm-prompt-tokens: 9\r\n",
        false => "",
    };
    let answer = match asked {
        true => {
            "{\"choices\": [{\"message\": {\"content\": \"A fox is a clever animal.\"}}], \
             \"metrics\": {\"total_time_ms\": 12.5}}"
        }
        false => "{}",
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}
