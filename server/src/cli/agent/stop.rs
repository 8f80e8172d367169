//! When an agent stops: at a signal, or because its program can't be started.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Whether to stop, and how. Clones are told the same.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    begun: CancellationToken,
    at_once: CancellationToken,
    signals: Arc<tokio::sync::Mutex<Signals>>,
    failure: Arc<Mutex<Option<io::Error>>>,
}

#[derive(Debug)]
struct Signals {
    term: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Listens to SIGTERM and SIGINT, whose default would end us and leave the programs behind.
    pub(super) fn on_signals() -> io::Result<Self> {
        let signals = Signals {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self {
            begun: CancellationToken::new(),
            at_once: CancellationToken::new(),
            signals: Arc::new(tokio::sync::Mutex::new(signals)),
            failure: Arc::default(),
        })
    }

    /// Waits until it is time to stop.
    pub(super) async fn begun(&self) {
        tokio::select! {
            () = self.begun.cancelled() => {}
            () = self.next_signal() => self.begun.cancel(),
        }
    }

    /// Waits until nothing more may be waited for: a signal after the first.
    pub(super) async fn at_once(&self) {
        self.begun.cancelled().await;
        tokio::select! {
            () = self.at_once.cancelled() => {}
            () = self.next_signal() => self.at_once.cancel(),
        }
    }

    /// Stops, and says why.
    pub(super) fn fail(&self, error: io::Error) {
        self.failure.lock().get_or_insert(error);
        self.begun.cancel();
    }

    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().take()
    }

    /// Waits for a signal. One waiter at a time listens; what it does about it, the others see by the tokens.
    async fn next_signal(&self) {
        let mut signals = self.signals.lock().await;
        let Signals { term, interrupt } = &mut *signals;
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
