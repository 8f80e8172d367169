//! A thread of its own for what a benchmark does, so that it costs the hub as little as it can: tasks that share one thread
//! wake each other without the kernel.

use std::{future::Future, io};

use tokio_util::sync::CancellationToken;

/// Runs a future on a thread of its own, with all that it spawns. Dropping what is returned drops it.
pub(super) async fn aside<T, F>(make: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let stop = CancellationToken::new();
    let _ends_with_this = stop.clone().drop_guard();
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let done = runtime.block_on(stop.run_until_cancelled(make()));
        done.ok_or_else(|| io::Error::other("it was stopped"))
    });
    thread.await.map_err(io::Error::other).flatten()
}
