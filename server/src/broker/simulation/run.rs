//! One run, and how its failure is told.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use fastrand::Rng;
use hookline_core::planted::{Bug, plant};

use super::{operation::Operation, stepper::runtime, world::World};

/// So many operations a run has.
pub(super) const OPERATIONS: usize = 300;
/// So many of the last ones a failure tells.
const TOLD: usize = 30;

/// A run without failure.
pub(super) struct Ran {
    /// How often what happened.
    pub(super) ways: BTreeMap<&'static str, u64>,
    /// What was seen.
    pub(super) seen: Vec<String>,
}

/// What was wrong, and how it came to that.
pub(super) struct Failure {
    pub(super) seed: u64,
    pub(super) why: String,
    operations: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, why, operations } = self;
        writeln!(f, "seed {seed}, operation {}: {why}", operations.len())?;
        for operation in operations.iter().skip(operations.len().saturating_sub(TOLD)) {
            writeln!(f, "  {operation}")?;
        }
        writeln!(
            f,
            "again: HOOKLINE_SIM_SEED={seed} cargo test -p hookline-server --lib simulation::tests::replay -- --nocapture",
        )
    }
}

thread_local! {
    static RUNS: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics of this thread while a run is on: a task that panics is none of the test's, and must be seen.
fn note_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if RUNS.get() {
                PANIC.with_borrow_mut(|panic| {
                    panic.get_or_insert_with(|| info.to_string());
                });
            } else {
                before(info);
            }
        }));
    });
}

/// Makes the run of a seed, with a bug or without.
pub(super) fn run(seed: u64, bug: Option<Bug>) -> Result<Ran, Box<Failure>> {
    note_panics();
    PANIC.take();
    plant(bug);
    RUNS.set(true);
    let operations = RefCell::new(Vec::new());
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime().block_on(Box::pin(go_through(seed, &operations)))
    }));
    RUNS.set(false);
    plant(None);
    let ran = ran.unwrap_or_else(|panic: Box<dyn Any + Send>| {
        drop(panic);
        Err(PANIC.take().unwrap_or_default())
    });
    ran.map_err(|why| Box::new(Failure { seed, why, operations: operations.take() }))
}

async fn go_through(seed: u64, operations: &RefCell<Vec<String>>) -> Result<Ran, String> {
    let mut world = World::new(seed).await;
    // Chance of its own: what else happens in a run stays as it is without.
    let mut retention = Rng::with_seed(!seed);
    let mut replays = Rng::with_seed(seed.rotate_left(32));
    for at in 1..=OPERATIONS {
        world.at = at;
        let head = world.oracle.log.len() as u64;
        let operation = Operation::random(&mut world.random, at, head);
        let steps = (world.random.u8(..6) == 0).then(|| world.random.u8(..8));
        operations.borrow_mut().push(format!("{at} {operation:?}, steps: {steps:?}"));
        world.seen.push(format!("{operation:?}"));
        world.perform(&operation).await;
        let trim = Operation::retention(&mut retention, head).filter(|_| seed % 5 < 2);
        if let Some(trim) = trim {
            operations.borrow_mut().push(format!("{at} {trim:?}"));
            world.perform(&trim).await;
        }
        let replay = Operation::replay(&mut replays, head).filter(|_| seed.is_multiple_of(3));
        if let Some(replay) = replay {
            operations.borrow_mut().push(format!("{at} {replay:?}"));
            world.perform(&replay).await;
        }
        match steps {
            Some(steps) => world.step(steps).await,
            None => {
                world.settle().await;
                world.check().await;
            }
        }
        look(&mut world)?;
    }
    operations.borrow_mut().push("and comes to rest".to_owned());
    world.come_to_rest().await;
    look(&mut world)?;
    world.kill_hub().await;
    Ok(Ran { ways: world.oracle.ways, seen: world.seen })
}

fn look(world: &mut World) -> Result<(), String> {
    if let Some(panic) = PANIC.take() {
        return Err(format!("a task panicked: {panic}"));
    }
    world.oracle.violation.take().map_or(Ok(()), Err)
}
