//! Choosing events by subject, resource and actor: what is found is what reading everything would find.

use std::{ops::Range, sync::Arc};

use hookline_core::{
    event::{EventType, NewEvent, SourceName},
    pattern::PatternSet,
};

use super::{
    super::{
        ReadLimit,
        select::{Direction, INDEX_WORK, Selection, Walk},
    },
    ALL, Bench, at, event, on_every_store, sequence,
};

on_every_store! {
    what_is_wanted_is_found_either_way,
    a_walk_stops_where_its_limit_or_its_work_ends_and_goes_on_there,
    what_was_trimmed_is_not_found,
    a_walk_through_nothing_finds_nothing,
}

/// The event at a place of the log: of three sources and some types, resources and actors, so that some are rare.
fn nth(n: u64) -> NewEvent {
    let source = ["github", "stripe", "jira"][usize::try_from(n % 3).unwrap()];
    let kind = if n.is_multiple_of(400) { "rare.one" } else { "common.one" };
    NewEvent {
        source: SourceName::parse(source).unwrap(),
        event_type: EventType::parse(kind).unwrap(),
        actor: format!("actor-{}", n % 20).into(),
        resource_type: if n.is_multiple_of(2) { "issue" } else { "pull_request" }.into(),
        resource_id: format!("octo/hello#{}", n % 150).into(),
        ..event("", n.to_string())
    }
}

const COUNT: u64 = 1_700;

async fn filled(bench: &mut Bench) {
    let all: Vec<_> = (1..=COUNT).map(nth).collect();
    for (some, secs) in all.chunks(97).zip(0..) {
        bench.append(some.to_vec(), at(secs)).await;
        if secs % 5 == 0 {
            bench.step().await;
        }
    }
    bench.step().await;
}

fn selections() -> Vec<Selection> {
    let patterns = |some: &[&str]| Some(PatternSet::parse(some).unwrap());
    let text = |text: &str| Some(text.to_owned());
    let none = Selection::default();
    vec![
        none.clone(),
        Selection { patterns: patterns(&["github"]), ..none.clone() },
        Selection { patterns: patterns(&["*/rare.*", "!jira"]), ..none.clone() },
        Selection { patterns: patterns(&["gitlab"]), ..none.clone() },
        Selection { resource_type: text("issue"), ..none.clone() },
        Selection { resource_id: text("octo/hello#42"), ..none.clone() },
        Selection {
            resource_type: text("issue"),
            resource_id: text("octo/hello#42"),
            actor: text("actor-2"),
            ..none.clone()
        },
        Selection {
            resource_type: text("issue"),
            resource_id: text("octo/hello#43"),
            ..none.clone()
        },
        Selection { actor: text("actor-7"), patterns: patterns(&["stripe"]), ..none },
    ]
}

fn walk(range: Range<u64>, direction: Direction, selection: &Selection) -> Walk {
    let selection = Arc::new(selection.clone());
    Walk { range, direction, selection, limit: ALL, work: usize::MAX }
}

fn expected(range: &Range<u64>, direction: Direction, selection: &Selection) -> Vec<u64> {
    let there = range.start..range.end.min(COUNT + 1);
    let mut wanted: Vec<_> = there.filter(|n| selection.takes(&nth(*n))).collect();
    if direction == Direction::Backward {
        wanted.reverse();
    }
    wanted
}

/// Walks to the end, however often a walk stops.
async fn found(bench: &Bench, mut walk: Walk) -> (Vec<u64>, usize) {
    let (mut all, mut calls) = (Vec::new(), 0);
    while !walk.range.is_empty() {
        let found = bench.log().select(walk.clone()).await.unwrap();
        all.extend(found.entries.iter().map(|entry| entry.event.sequence.get()));
        assert!(found.rest != walk.range, "a walk goes on");
        walk.range = found.rest;
        calls += 1;
    }
    (all, calls)
}

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

async fn what_is_wanted_is_found_either_way(mut bench: Bench) {
    filled(&mut bench).await;
    for selection in selections() {
        for direction in DIRECTIONS {
            for range in [1..u64::MAX, 1..2, 500..520, 511..513, 1_024..1_536, 1_600..9_000] {
                let walk = walk(range.clone(), direction, &selection);
                let (all, calls) = found(&bench, walk).await;
                assert_eq!(all, expected(&range, direction, &selection), "{selection:?} {range:?}");
                assert_eq!(calls, 1);
            }
        }
        bench.step().await;
    }
}

async fn a_walk_stops_where_its_limit_or_its_work_ends_and_goes_on_there(mut bench: Bench) {
    filled(&mut bench).await;
    for selection in selections() {
        for direction in DIRECTIONS {
            let range = 7..1_690;
            let wanted = expected(&range, direction, &selection);
            let all = walk(range, direction, &selection);
            let few = Walk { limit: ReadLimit { count: 7, ..ALL }, ..all.clone() };
            let first = bench.log().select(few.clone()).await.unwrap();
            assert_eq!(first.entries.len(), wanted.len().min(7));
            assert_eq!(found(&bench, few).await.0, wanted);
            let one = ReadLimit { bytes: 1, ..ALL };
            let (each, calls) = found(&bench, Walk { limit: one, ..all.clone() }).await;
            assert!(wanted.len() <= calls && calls <= wanted.len() + 1);
            assert_eq!(each, wanted);
            let little = Walk { work: INDEX_WORK, ..all };
            let worked = bench.log().select(little.clone()).await.unwrap().work;
            assert!(worked < 700, "{worked}");
            assert_eq!(found(&bench, little).await.0, wanted);
        }
    }
}

async fn what_was_trimmed_is_not_found(mut bench: Bench) {
    filled(&mut bench).await;
    for first in [300, 1_024, 1_025, 1_699, COUNT + 1] {
        bench.log().trim(sequence(first)).await.unwrap();
        bench.step().await;
        for selection in selections() {
            for direction in DIRECTIONS {
                let walk = walk(1..u64::MAX, direction, &selection);
                let wanted = expected(&(first..u64::MAX), direction, &selection);
                assert_eq!(found(&bench, walk).await.0, wanted);
            }
        }
    }
}

async fn a_walk_through_nothing_finds_nothing(mut bench: Bench) {
    for selection in selections() {
        for direction in DIRECTIONS {
            for range in [1..u64::MAX, 5..5, 7..9] {
                let found = bench.log().select(walk(range, direction, &selection)).await.unwrap();
                assert!(found.entries.is_empty() && found.rest.is_empty());
            }
        }
    }
    bench.step().await;
}
