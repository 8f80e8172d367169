//! Tasks: the only place that spawns. Each task has a name, a kind that says what its end means, and a group that waits
//! for it.
//!
//! A [`Tasks`] is the whole process; its [`Group`]s are stopped one after the other, in a written order, under one
//! deadline. What still runs then is dropped.

use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the end of a task means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Without it the hub can't work: if it panics, or ends before its group was told to stop, the process shuts down.
    Essential,
    /// It serves one connection, stream or job: if it panics, that is logged, and everything else goes on.
    Contained,
}

/// All tasks of the process.
#[derive(Clone, Debug)]
pub struct Tasks {
    kill: CancellationToken,
    failed: Arc<watch::Sender<Option<Failure>>>,
}

/// Why the process has to shut down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task `{task}` {how}")]
pub struct Failure {
    /// The task's name.
    pub task: &'static str,
    /// How it ended.
    pub how: Ended,
}

/// How a task ended that should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It returned before it was told to stop.
    Early,
    /// It panicked, with this message.
    Panicked(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early => f.write_str("ended before it was told to stop"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// A group that was not done at the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} tasks of `{group}` were still running at the deadline")]
pub struct Unfinished {
    /// The group's name.
    pub group: &'static str,
    /// How many of its tasks were dropped.
    pub count: usize,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// Makes the root of all groups.
    #[must_use]
    pub fn new() -> Self {
        Self { kill: CancellationToken::new(), failed: Arc::new(watch::Sender::new(None)) }
    }

    /// Makes a group. It stops only by [`Group::stop`] or [`Tasks::shutdown`].
    #[must_use]
    pub fn group(&self, name: &'static str) -> Group {
        Group {
            name,
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            tasks: self.clone(),
        }
    }

    /// Waits until an essential task has failed, and returns the first one that did. May be called more than once.
    pub async fn failed(&self) -> Failure {
        let mut failed = self.failed.subscribe();
        let first = failed.wait_for(Option::is_some).await;
        let first = first.expect("`self` holds the sender").clone();
        first.expect("waited for")
    }

    /// Stops the groups in the order given: each is told to stop and has ended before the next is told. All of it takes
    /// at most `grace`; what runs then is dropped at its next await, and the answer names it.
    pub async fn shutdown(&self, order: &[&Group], grace: Duration) -> Vec<Unfinished> {
        let in_order = async {
            for group in order {
                group.stop();
                group.ended().await;
                tracing::debug!(group = group.name, "stopped");
            }
        };
        let all_ended = timeout(grace, in_order).await.is_ok();
        let unfinished: Vec<_> = order
            .iter()
            .filter(|group| !all_ended && !group.tracker.is_empty())
            .map(|group| Unfinished { group: group.name, count: group.tracker.len() })
            .collect();
        self.kill.cancel();
        for group in order {
            group.stop();
        }
        unfinished
    }

    fn fail(&self, failure: Failure) {
        self.failed.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(failure);
            is_first
        });
    }
}

/// Tasks that stop together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Group {
    name: &'static str,
    tracker: TaskTracker,
    stop: CancellationToken,
    tasks: Tasks,
}

impl Group {
    /// Runs a future as a task of this group.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, kind: Kind, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        let tracked = self.tracker.track_future(async move {
            let ended = tokio::select! {
                biased;
                () = tasks.kill.cancelled() => return,
                ended = catch_panic(future) => ended,
            };
            judge(&tasks, &stop, kind, name, ended);
        });
        drop(tokio::spawn(tracked));
    }

    /// Tells the tasks to stop. Does not wait.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Returns the token that is cancelled when the tasks are to stop.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits until the group was told to stop and all its tasks have ended.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }

    /// Returns how many tasks run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tracker.len()
    }
}

/// Logs how a task ended, and reports it if the hub can't go on without it.
fn judge(
    tasks: &Tasks,
    stop: &CancellationToken,
    kind: Kind,
    name: &'static str,
    ended: Result<(), String>,
) {
    let how = match ended {
        Err(message) => Ended::Panicked(message),
        Ok(()) if kind == Kind::Essential && !stop.is_cancelled() => Ended::Early,
        Ok(()) => return,
    };
    let failure = Failure { task: name, how };
    tracing::error!(task = name, essential = kind == Kind::Essential, "{failure}");
    if kind == Kind::Essential {
        tasks.fail(failure);
    }
}

/// Drives a future, and turns a panic in it into its message.
async fn catch_panic(future: impl Future<Output = ()>) -> Result<(), String> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // What the future borrows is not looked at after a panic: it is dropped.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
        }
    })
    .await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is not text").to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_panic_in_an_essential_task_is_reported_with_its_name() {
        let tasks = Tasks::new();
        let group = tasks.group("http");
        group.spawn(Kind::Essential, "listener", async { panic!("socket {}", "gone") });
        let failure = tasks.failed().await;
        assert_eq!(failure.to_string(), "the task `listener` panicked: socket gone");
    }

    #[tokio::test]
    async fn an_essential_task_that_ends_early_is_a_failure() {
        let tasks = Tasks::new();
        tasks.group("http").spawn(Kind::Essential, "listener", async {});
        assert_eq!(tasks.failed().await, Failure { task: "listener", how: Ended::Early });
    }

    #[tokio::test]
    async fn a_panic_in_a_contained_task_leaves_the_others_alone() {
        let tasks = Tasks::new();
        let group = tasks.group("http");
        group.spawn(Kind::Contained, "connection", async { panic!("one bad connection") });
        let (send, receive) = oneshot::channel();
        group.spawn(Kind::Contained, "connection", async { send.send(7).unwrap() });
        assert_eq!(receive.await, Ok(7));
        assert_eq!(tasks.shutdown(&[&group], GRACE).await, []);
        assert_eq!(*tasks.failed.borrow(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn groups_stop_in_order_and_each_is_done_before_the_next_is_told() {
        let tasks = Tasks::new();
        let (first, second) = (tasks.group("first"), tasks.group("second"));
        let steps = Arc::new(parking_lot::Mutex::new(Vec::new()));
        for (group, name) in [(&first, "first"), (&second, "second")] {
            let (stop, steps) = (group.stopping().clone(), Arc::clone(&steps));
            group.spawn(Kind::Essential, name, async move {
                stop.cancelled().await;
                steps.lock().push(format!("{name} told"));
                tokio::time::sleep(Duration::from_secs(3)).await;
                steps.lock().push(format!("{name} done"));
            });
        }
        assert_eq!(tasks.shutdown(&[&first, &second], GRACE).await, []);
        assert_eq!(*steps.lock(), ["first told", "first done", "second told", "second done"]);
        assert_eq!(*tasks.failed.borrow(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_at_the_deadline_is_dropped_and_named() {
        let tasks = Tasks::new();
        let (stuck, next) = (tasks.group("stuck"), tasks.group("next"));
        let (dropped, was_dropped) = oneshot::channel::<()>();
        stuck.spawn(Kind::Contained, "stuck", async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
        });
        let stop = next.stopping().clone();
        next.spawn(Kind::Contained, "next", async move { stop.cancelled().await });
        let unfinished = tasks.shutdown(&[&stuck, &next], GRACE).await;
        assert_eq!(
            unfinished,
            [Unfinished { group: "stuck", count: 1 }, Unfinished { group: "next", count: 1 }]
        );
        assert!(was_dropped.await.is_err());
    }
}
