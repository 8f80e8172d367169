//! Tests of the core that need more than one module.

mod delivery;
