//! A plain HTTP/1.1 client over a socket: what it sends and sees is exactly what is on the wire.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// No answer takes longer, on a busy machine either.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// In the order they came, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Fields after a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The chunks of a stream; its end must be `[DONE]`.
    #[track_caller]
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let mut data: Vec<&str> = self
            .text()
            .split("\n\n")
            .filter(|event| !event.is_empty() && !event.starts_with(':'))
            .map(|event| {
                event
                    .strip_prefix("data: ")
                    .unwrap_or_else(|| panic!("{event}"))
            })
            .collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{}", self.text());
        data.iter()
            .map(|chunk| serde_json::from_str(chunk).unwrap())
            .collect()
    }

    /// Names of the headers that report what the request cost.
    pub(crate) fn stats_headers(&self) -> Vec<&str> {
        let ours = |name: &&str| name.starts_with("x-vllm-") || *name == "x-candela-compute-time";
        self.headers
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(ours)
            .collect()
    }
}

/// An open connection, and the trailers of the last chunked body read from it.
pub(crate) struct Connection(BufReader<TcpStream>, Vec<(String, String)>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream), Vec::new())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// Sends a request, its body with a length.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.send(&[head.as_bytes(), b"\r\n", body].concat());
    }

    /// Reads one line, its end included; empty at the end of the connection.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// Status and headers.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Reply {
        let status = self.line();
        let status = status
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Reply {
            status: status.expect("a status line"),
            headers: self.fields(),
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Header or trailer fields, up to the empty line.
    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some((name, value)) = self.line().trim_end().split_once(": ") {
            fields.push((name.to_lowercase(), value.to_owned()));
        }
        fields
    }

    /// A whole answer.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        if let Some(length) = reply.header("content-length") {
            reply.body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut reply.body).unwrap();
        } else if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                reply.body.extend(chunk);
            }
            reply.trailers = std::mem::take(&mut self.1);
        }
        reply
    }

    /// The next chunk of a chunked body; `None` at its end, trailers included.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(self.line().trim_end(), 16).unwrap();
        if size == 0 {
            self.1 = self.fields();
            return None;
        }
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        Some(chunk)
    }
}
