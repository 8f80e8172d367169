//! Fuzzing: mutated input for everything that takes input from outside. See `driver.rs` for how to run more of it.
//!
//! Every kind has two targets, by the table of kinds: `verify/<kind>` and `normalize/<kind>`.

mod driver;
mod mutate;
mod parsers;
mod requests;

use fastrand::Rng;
use hookline_core::source::Kind;

use self::{
    driver::run,
    parsers::{Forms, Mappings, Patterns, Pointers},
    requests::{Normalize, Verify},
};

/// How many targets there are, the configuration's not counted, which the server has.
fn targets() -> u32 {
    u32::try_from(2 * Kind::all().count() + 4).unwrap()
}

#[test]
fn fuzz_no_verifier_takes_what_was_not_signed() {
    for kind in Kind::all() {
        let ways = run(&Verify::of(kind), targets());
        let takes = ways.get("control").is_some_and(|&count| 0 < count);
        assert!(ways.is_empty() || takes, "`{kind}` took nothing: {ways:?}");
    }
}

#[test]
fn fuzz_every_normalizer_makes_valid_events_of_anything() {
    for kind in Kind::all() {
        let target = Normalize::of(kind);
        let ways = run(&target, targets());
        let is_read = ["events", "answer"].iter().any(|way| ways.contains_key(way));
        assert!(ways.is_empty() || is_read, "`{kind}` read nothing: {ways:?}");
    }
}

#[test]
fn fuzz_patterns_are_parsed_and_match_as_they_say() {
    run(&Patterns, targets());
}

#[test]
fn fuzz_json_pointers_are_parsed() {
    run(&Pointers, targets());
}

#[test]
fn fuzz_any_mapping_reads_any_body() {
    run(&Mappings::new(), targets());
}

#[test]
fn fuzz_any_form_is_read() {
    run(&Forms::new(), targets());
}

fn pick<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.usize(0..all.len())]
}
