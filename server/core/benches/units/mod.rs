//! The core's work in pieces, each over inputs that are prepared before: what `core` times and `counts` counts.

mod inbound;

mod matching;

mod delivery;

/// Does a piece of work so many times; returns how many times it came to its end, which is as many.
pub(crate) type Work = Box<dyn FnMut(u32) -> u32>;

/// A piece of the core's work.
pub(crate) struct Unit {
    /// What it is: `<what>/<how much>`.
    pub(crate) name: String,
    /// How many rounds are counted, after as many that are not: enough that what comes now and then, such as a node of a
    /// tree, is in it.
    pub(crate) counted_rounds: u32,
    /// In how many processes instructions are counted, of which the median counts: several where a hash map with a random
    /// seed is in it.
    pub(crate) processes: usize,
    /// How many rounds at most what is prepared once is good for.
    pub(crate) rounds_max: u32,
    prepare: Box<dyn Fn(u32) -> Work>,
}

impl Unit {
    /// Prepares the work for so many rounds in all, at most `rounds_max`.
    pub(crate) fn prepare(&self, rounds: u32) -> Work {
        assert!(
            rounds <= self.rounds_max,
            "`{}` is good for {} rounds",
            self.name,
            self.rounds_max
        );
        (self.prepare)(rounds)
    }

    /// Makes a unit that stays as it is, however often it is done.
    fn constant(
        name: String,
        counted_rounds: u32,
        prepare: impl Fn() -> Box<dyn FnMut() -> bool> + 'static,
    ) -> Self {
        let prepare = move |_| {
            let mut once = prepare();
            let work: Work = Box::new(move |rounds| {
                let done = (0..rounds).filter(|_| once()).count();
                u32::try_from(done).unwrap()
            });
            work
        };
        let prepare = Box::new(prepare);
        Self { name, counted_rounds, processes: 1, rounds_max: u32::MAX, prepare }
    }
}

/// Returns all units, in the order in which an event meets them. Without the real bodies those that read one are left out.
pub(crate) fn all() -> Vec<Unit> {
    let mut units = inbound::units();
    units.extend(matching::units());
    units.extend(delivery::units());
    units
}
