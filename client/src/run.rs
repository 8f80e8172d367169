//! The handler form: one async function per delivery, several at once.

use std::{any::Any, collections::HashMap, future::Future, sync::Arc};

use tokio::task::{Id, JoinError, JoinSet};

use crate::{Deliveries, Delivery, Error, delivery::Ticket, error};

/// How a handler says that it failed.
struct Failure {
    reason: String,
    error_type: &'static str,
}

/// The handlers that run.
#[derive(Default)]
struct Handlers {
    tasks: JoinSet<Result<(), Failure>>,
    tickets: HashMap<Id, Ticket>,
}

impl Deliveries {
    /// Works on deliveries with up to `concurrency` handlers at once (at least one), each a task of
    /// its own, until the stream ends.
    ///
    /// What a handler has not settled itself is settled by how it ends: `Ok` acks, an error nacks
    /// with its text and those of its causes, a panic nacks with its message. A handler that has to
    /// know that its ack is durable calls [`Delivery::ack`] itself.
    ///
    /// ```no_run
    /// # async fn review(number: u64) -> std::io::Result<()> { Ok(()) }
    /// # async fn example(client: hookline_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client
    ///     .subscription("reviewer")
    ///     .patterns(["github/pull_request.opened"])
    ///     .run(4, |delivery| async move {
    ///         let body: serde_json::Value = delivery.payload_json()?;
    ///         review(body["number"].as_u64().unwrap_or_default()).await?;
    ///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why the stream ended. Handlers that run then are waited for as after a stop.
    pub async fn run<H, F, E>(self, concurrency: usize, handler: H) -> Result<(), Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        self.run_until(concurrency, handler, std::future::pending()).await
    }

    /// As [`run`](Self::run), until `shutdown` is ready. Then it stops in order: takes nothing more,
    /// gives back what was not begun, lets running handlers finish for the builder's `stop_grace`
    /// (what is not finished then is given back too), and waits until the hub has confirmed it all.
    ///
    /// # Errors
    /// Why the stream ended before.
    pub async fn run_until<H, F, E>(
        mut self,
        concurrency: usize,
        handler: H,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let handler = Arc::new(handler);
        let mut handlers = Handlers::default();
        let mut shutdown = std::pin::pin!(shutdown);
        let result = loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break Ok(()),
                () = handlers.finish_one(), if !handlers.tasks.is_empty() => {}
                next = self.next(), if handlers.tasks.len() < concurrency.max(1) => match next {
                    Some(Ok(delivery)) => handlers.begin(delivery, &handler),
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                },
            }
        };
        self.stop_taking();
        if tokio::time::timeout(self.stop_grace, handlers.finish_all()).await.is_err() {
            tracing::warn!(
                count = handlers.tasks.len(),
                "handlers did not finish in time, their events are given back"
            );
            handlers.tasks.abort_all();
            handlers.finish_all().await;
        }
        self.close().await;
        result
    }
}

impl Handlers {
    fn begin<H, F, E>(&mut self, mut delivery: Delivery, handler: &Arc<H>)
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let ticket = delivery.split();
        let handler = Arc::clone(handler);
        let task = self.tasks.spawn(async move {
            handler(delivery).await.map_err(|error| {
                let error = error.into();
                let error_type = error_type::<E>();
                Failure { reason: error::chain(error.as_ref()), error_type }
            })
        });
        self.tickets.insert(task.id(), ticket);
    }

    /// Waits for a handler and settles what it has not settled itself.
    async fn finish_one(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return };
        let (id, end) = match ended {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(ticket) = self.tickets.remove(&id) else { return };
        match end {
            Ok(Ok(())) => ticket.ack(),
            Ok(Err(Failure { reason, error_type })) => ticket.nack(reason, error_type.to_owned()),
            Err(error) => nack_panic(&ticket, error),
        }
    }

    async fn finish_all(&mut self) {
        while !self.tasks.is_empty() {
            self.finish_one().await;
        }
    }
}

/// Nacks what a panic left behind. A handler that was aborted only drops its ticket, which gives its
/// event back.
fn nack_panic(ticket: &Ticket, error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        ticket.nack(panic_message(panic.as_ref()), "panic".to_owned());
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked without a message".to_owned())
}

/// Returns the name of an error's type, or nothing where it would say nothing.
fn error_type<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    if name.contains("dyn ") { "" } else { name }
}
