//! When a disk is too full to take events: before anything fails, so that what was taken can still be handed out and acked.

/// How much of a disk is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) bytes: u64,
    pub(super) of: u64,
}

/// How much must be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    /// In percent of the disk.
    pub(super) percent: u8,
    /// In any case.
    pub(super) bytes: u64,
}

impl Floor {
    /// Whether a disk is too full. One that was has to have a tenth more: else a hub that trims would take and refuse in
    /// turns.
    pub(super) fn is_full(self, free: Free, was_full: bool) -> bool {
        let part = u128::from(free.of) * u128::from(self.percent) / 100;
        let least = part.max(u128::from(self.bytes));
        let least = if was_full { least + least / 10 } else { least };
        u128::from(free.bytes) < least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn full(bytes: u64, of: u64, was_full: bool) -> bool {
        Floor { percent: 5, bytes: 128 * MIB }.is_full(Free { bytes, of }, was_full)
    }

    #[test]
    fn a_disk_is_full_below_a_part_of_it_and_below_a_floor() {
        assert!(!full(51 * MIB * 1_000, MIB * 1_000_000, false));
        assert!(full(49 * MIB * 1_000, MIB * 1_000_000, false));
        // Of a small disk the part is less than the floor.
        assert!(full(127 * MIB, 256 * MIB, false) && !full(128 * MIB, 256 * MIB, false));
        assert!(full(0, 0, false));
    }

    #[test]
    fn one_that_was_full_needs_more_before_it_is_not() {
        assert!(full(135 * MIB, 256 * MIB, true) && !full(135 * MIB, 256 * MIB, false));
        assert!(!full(141 * MIB, 256 * MIB, true));
    }

    #[test]
    fn without_a_floor_no_disk_is_full_and_with_more_than_all_each_is() {
        assert!(!Floor { percent: 0, bytes: 0 }.is_full(Free { bytes: 0, of: 100 }, true));
        assert!(Floor { percent: 101, bytes: 0 }.is_full(Free { bytes: 100, of: 100 }, false));
    }
}
