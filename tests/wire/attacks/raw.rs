//! HTTP/2 written by hand (RFC 9113, RFC 7541), for what no library sends.

use std::{io, net::SocketAddr};

use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: u16 = 4;
const WINDOW_MAX: u32 = (1 << 31) - 1;
const WINDOW_OF_CONNECTIONS: u32 = 65_535;

/// Writes a frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Writes text as HPACK does, without Huffman's code.
pub(super) fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match u8::try_from(text.len()) {
        Ok(length @ 0..127) => bytes.push(length),
        _ => {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while 128 <= rest {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// Returns the header block of a call, such as of `EventService/WatchEvents`.
pub(super) fn call(method: &str) -> Vec<u8> {
    // By their places in the static table: POST, http, and names of a path, an authority and a content type.
    let mut block = vec![0x83, 0x86, 0x04];
    block.extend(text(&format!("/hookline.v1.{method}")));
    block.push(0x01);
    block.extend(text("hub"));
    block.extend([0x0f, 0x10]);
    block.extend(text("application/grpc"));
    block.push(0x00);
    block.extend(text("te"));
    block.extend(text("trailers"));
    block
}

/// Returns a header without a place in a table.
pub(super) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![0x00];
    header.extend(text(name));
    header.extend(text(value));
    header
}

/// Returns the frames of a whole call with one message.
pub(super) fn whole_call(stream: u32, method: &str, request: &impl Message) -> Vec<u8> {
    let message = request.encode_to_vec();
    let mut data = vec![0];
    data.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    data.extend(message);
    let mut frames = frame(HEADERS, END_HEADERS, stream, &call(method));
    frames.extend(frame(DATA, END_STREAM, stream, &data));
    frames
}

/// A frame that the hub sent.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// A connection.
pub(super) struct Raw {
    io: TcpStream,
}

impl Raw {
    /// Opens a connection that has said nothing.
    pub(super) async fn silent(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { io: TcpStream::connect(address).await? })
    }

    /// Opens a connection of HTTP/2 with ordinary windows.
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::open_with(address, &[]).await
    }

    /// Opens a connection that would let the hub send without end.
    pub(super) async fn open_wide(address: SocketAddr) -> io::Result<Self> {
        let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend(WINDOW_MAX.to_be_bytes());
        let mut raw = Self::open_with(address, &settings).await?;
        let window = (WINDOW_MAX - WINDOW_OF_CONNECTIONS).to_be_bytes();
        raw.send(&frame(WINDOW_UPDATE, 0, 0, &window)).await?;
        Ok(raw)
    }

    async fn open_with(address: SocketAddr, settings: &[u8]) -> io::Result<Self> {
        let mut raw = Self::silent(address).await?;
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await?;
        Ok(raw)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await
    }

    /// Reads a frame.
    pub(super) async fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.io.read_exact(&mut payload).await?;
        Ok(Frame { kind: head[3], stream, payload })
    }

    /// Reads until the hub closes.
    pub(super) async fn closed(&mut self) {
        let mut bytes = [0; 4_096];
        while let Ok(1..) = self.io.read(&mut bytes).await {}
    }
}
