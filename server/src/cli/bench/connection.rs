//! One connection of a load: HTTP/1.1 by hand.
//!
//! The load shares the machine with what it measures, so it must cost next to nothing: a request is three slices that are
//! written as they are, an answer is a status and so many bytes to pass over.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The most bytes of an answer's head: servers send some hundred.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most headers of an answer.
const HEADER_COUNT_MAX: usize = 64;

/// A connection on which one request at a time is answered.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; HEAD_BYTES_MAX]>,
}

/// What an answer's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
    keeps: bool,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// Whether the connection takes another request.
    pub(super) keeps: bool,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Box::new([0; HEAD_BYTES_MAX]) })
    }

    /// Sends a request, which is these parts one after the other, and waits for its answer.
    pub(super) async fn exchange(&mut self, parts: [&[u8]; 3]) -> io::Result<Answer> {
        let mut slices = parts.map(IoSlice::new);
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let written = self.stream.write_vectored(slices).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut slices, written);
        }
        self.answer().await
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let mut filled = 0;
        let head = loop {
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            if room.is_empty() {
                return Err(io::Error::other("the head of an answer is too long"));
            }
            filled += arrived(self.stream.read(room).await?)?;
            if let Some(head) = read_head(self.buffer.get(..filled).unwrap_or_default())? {
                break head;
            }
        };
        let mut missing = (head.bytes + head.body_bytes)
            .checked_sub(filled)
            .ok_or_else(|| io::Error::other("an answer is longer than it says"))?;
        while 0 < missing {
            let room = missing.min(self.buffer.len());
            let room = self.buffer.get_mut(..room).unwrap_or_default();
            missing -= arrived(self.stream.read(room).await?)?;
        }
        Ok(Answer { status: head.status, keeps: head.keeps })
    }
}

/// Returns how many bytes came; none is the end of the connection.
fn arrived(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
}

/// Reads an answer's head; `None` while a part of it is missing.
fn read_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(bytes).map_err(io::Error::other)?;
    let (httparse::Status::Complete(bytes), Some(status)) = (parsed, answer.code) else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let body_bytes = match header("content-length").map(str::parse) {
        Some(Ok(count)) => count,
        None if status == 204 || status == 304 => 0,
        Some(Err(_)) | None => {
            return Err(io::Error::other("an answer does not say its Content-Length"));
        }
    };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Head { status, bytes, body_bytes, keeps: !closes && answer.version == Some(1) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_its_head_is_there() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\ndate: now\r\n\r\nhello";
        assert_eq!(read_head(&answer[..30]).unwrap(), None);
        let head = Head { status: 200, bytes: answer.len() - 5, body_bytes: 12, keeps: true };
        assert_eq!(read_head(answer).unwrap(), Some(head));
    }

    #[test]
    fn a_connection_that_closes_is_not_used_again() {
        for answer in [
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.0 503 Busy\r\nContent-Length: 0\r\n\r\n",
        ] {
            let head = read_head(answer.as_bytes()).unwrap().unwrap();
            assert_eq!((head.status, head.keeps), (503, false), "{answer}");
        }
    }

    #[test]
    fn an_answer_without_a_length_is_an_error() {
        assert!(read_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        let empty = read_head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!(empty.body_bytes, 0);
    }
}
