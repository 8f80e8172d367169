//! Frames of one message, sent together. The HTTP library hands each frame to the kernel by itself, 16 KiB of a large message
//! at a time; each then goes through the whole network stack, and wakes its reader.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::{io::Interest, net::TcpStream};

/// A full frame of data with its header: where the client has not asked for larger ones, a message is cut into these (RFC 9113,
/// sections 4.1 and 6.5.2). Of larger frames it can't be told whether more follows.
const FULL_FRAME_BYTES: usize = 9 + 16 * 1024;

/// What is sent without a word about what follows.
#[cfg(target_os = "linux")]
const ALONE: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const ALONE: SendFlags = SendFlags::empty();
/// What more follows. Other systems can't be told.
#[cfg(target_os = "linux")]
const MORE: SendFlags = ALONE.union(SendFlags::MORE);
#[cfg(not(target_os = "linux"))]
const MORE: SendFlags = ALONE;

/// Whether the kernel was told that more follows. It sends full segments nevertheless, and the rest with what comes next.
#[derive(Debug, Default)]
pub(super) struct Cork {
    waits: bool,
}

impl Cork {
    /// Writes; after a full frame the rest of its message is expected.
    pub(super) fn poll_write(
        &mut self,
        stream: &TcpStream,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size: usize = bufs.iter().map(|buf| buf.len()).sum();
        let is_full = size == FULL_FRAME_BYTES;
        let flags = if is_full { MORE } else { ALONE };
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let mut control = SendAncillaryBuffer::default();
            let send = || Ok(sendmsg(stream, bufs, &mut control, flags)?);
            match stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => {
                    self.waits = is_full && cfg!(target_os = "linux");
                    return Poll::Ready(sent);
                }
            }
        }
    }

    /// Sees to it that what waits goes out soon, whatever follows: the task is polled again, and reads then. It is asked for after
    /// each frame, so that poll is often one for nothing.
    pub(super) fn flush(&self, cx: &Context<'_>) {
        if self.waits {
            cx.waker().wake_by_ref();
        }
    }

    /// Whether something waits.
    #[cfg(test)]
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Sends what waits.
    pub(super) fn push(&mut self, stream: &TcpStream) -> io::Result<()> {
        if std::mem::take(&mut self.waits) {
            // To set it, although it is set, sends what waits (tcp(7)).
            stream.set_nodelay(true)?;
        }
        Ok(())
    }
}
