//! One HTTP connection that posts one request at a time, with as little between it and the socket as can be.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{Outcome, bodies::Bodies};

/// An answer larger than this is none of the servers' compared here.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to a URL `http://ADDRESS`.
    pub(crate) async fn open(url: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4_096) })
    }

    /// Posts one request, and reads its answer to the end; anything but 200 is an error.
    pub(crate) async fn post(&mut self, request: &[u8]) -> Outcome {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head_end = loop {
            self.read_more().await?;
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(self.buffer.get(..head_end).unwrap_or_default());
        if !head.starts_with("HTTP/1.1 200") {
            let line = head.lines().next().unwrap_or_default();
            return Err(format!("a post was answered `{line}`").into());
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        let end = head_end + length.ok_or("an answer without a length")??;
        while self.buffer.len() < end {
            self.read_more().await?;
        }
        Ok(())
    }

    async fn read_more(&mut self) -> Outcome {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        if ANSWER_BYTES_MAX < self.buffer.len() {
            return Err("an answer is too large".into());
        }
        Ok(())
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Posts exactly `count` events over some connections.
pub(crate) async fn fill(url: &str, bodies: &Arc<Bodies>, count: usize, run: &str) -> Outcome {
    const CONNECTIONS: usize = 64;
    let mut posting = JoinSet::new();
    for first in 0..CONNECTIONS {
        let (url, bodies, run) = (url.to_owned(), Arc::clone(bodies), run.to_owned());
        posting.spawn(async move {
            let mut connection = Connection::open(&url).await?;
            for number in (first..count).step_by(CONNECTIONS) {
                connection.post(&bodies.request(number, &format!("{run}-{number}"))).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(posted) = posting.join_next().await {
        posted??;
    }
    Ok(())
}
