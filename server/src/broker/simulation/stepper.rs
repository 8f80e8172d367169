//! One step of the runtime at a time, and knowing when there is none left.
//!
//! The runtime has one thread and an event interval of 1: between two polls of its root future, which is the simulation,
//! it polls one task, the one that waited longest. A probe is a task that does nothing but tell that it ran. Woken, it
//! stands last in the queue; so if it runs in the very next step, nothing else was ready.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
};

use crate::tasks::{Kind, Tasks};

/// More steps than any single operation takes.
pub(super) const STEPS_MAX: usize = 20_000;

/// Makes the runtime that a [`Stepper`] works in. Its own time stands still: who sleeps, sleeps by the virtual clock.
pub(super) fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).event_interval(1).build().unwrap()
}

/// Lets the tasks of the runtime run, step by step.
#[derive(Debug)]
pub(super) struct Stepper {
    probe: Arc<Probe>,
    _tasks: Tasks,
}

#[derive(Debug, Default)]
struct Probe {
    wake: Notify,
    runs: AtomicU64,
}

impl Stepper {
    pub(super) fn new() -> Self {
        let (tasks, probe) = (Tasks::new(), Arc::new(Probe::default()));
        let of_task = Arc::clone(&probe);
        tasks.group("probe").spawn(Kind::Contained, "probe", async move {
            loop {
                of_task.wake.notified().await;
                of_task.runs.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { probe, _tasks: tasks }
    }

    /// Lets one task run.
    pub(super) async fn step(&self) {
        tokio::task::yield_now().await;
    }

    /// Lets all tasks run that are ready now; whether none was.
    pub(super) async fn round(&self) -> bool {
        let before = self.probe.runs.load(Ordering::Relaxed);
        self.probe.wake.notify_one();
        for steps in 1..STEPS_MAX {
            self.step().await;
            if self.probe.runs.load(Ordering::Relaxed) != before {
                return steps == 1;
            }
        }
        panic!("the tasks never come to rest");
    }
}
