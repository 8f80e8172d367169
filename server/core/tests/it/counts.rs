//! What the check of the benchmark `counts` calls grown.

#[path = "../../benches/counts/table.rs"]
mod table;

use table::{Row, compare, parse, print};

fn row(unit: &str, instructions: f64, allocations: f64) -> Row {
    Row { unit: unit.to_owned(), instructions, allocations, bytes: 640.0 }
}

/// Returns what is said of one unit, and whether the check fails.
fn said(before: (f64, f64), now: (f64, f64)) -> (String, bool) {
    let findings = compare(&[row("ack/100", before.0, before.1)], &[row("ack/100", now.0, now.1)]);
    let text: Vec<_> = findings.iter().map(ToString::to_string).collect();
    (text.join("; "), findings.iter().any(table::Finding::is_failure))
}

#[test]
fn what_grows_fails_and_is_named_with_both_figures() {
    let rows = [
        ((1_000.0, 50.0), (1_000.0, 50.0), "", false),
        ((1_000.0, 50.0), (1_050.0, 51.0), "", false),
        (
            (1_000.0, 50.0),
            (1_051.0, 50.0),
            "GREW `ack/100`: 1000 instructions before, 1051.00 now (+5.1 %)",
            true,
        ),
        (
            (1_000.0, 50.0),
            (1_000.0, 51.02),
            "GREW `ack/100`: 50 allocations before, 51.02 now (+2.0 %)",
            true,
        ),
        // What did not allocate at all.
        ((1_000.0, 0.0), (1_000.0, 1.0), "GREW `ack/100`: 0 allocations before, 1.00 now", true),
        // A rounded figure of the file is not a change.
        ((1_000.0, 0.33), (1_000.0, 0.333_3), "", false),
    ];
    for (before, now, text, fails) in rows {
        assert_eq!(said(before, now), (text.to_owned(), fails), "{before:?} {now:?}");
    }
}

#[test]
fn what_shrinks_is_told_and_does_not_fail() {
    let told = "shrank `ack/100`: 1000 instructions before, 900.00 now (-10.0 %): write it with `-- --write`";
    assert_eq!(said((1_000.0, 50.0), (900.0, 50.0)), (told.to_owned(), false));
    assert_eq!(said((1_000.0, 50.0), (960.0, 40.0)), (String::new(), false));
}

#[test]
fn a_unit_that_the_file_lacks_fails_and_one_that_was_not_counted_does_not() {
    let (old, new) = (row("old/1", 1.0, 1.0), row("new/1", 1.0, 1.0));
    let findings = compare(std::slice::from_ref(&old), std::slice::from_ref(&new));
    let told: Vec<_> = findings.iter().map(|it| (it.to_string(), it.is_failure())).collect();
    assert_eq!(
        told,
        [
            ("NEW `new/1` is not in counts.tsv: write it with `-- --write`".to_owned(), true),
            ("missing `old/1` is in counts.tsv and was not counted".to_owned(), false),
        ]
    );
}

#[test]
fn the_file_is_read_as_it_was_written() {
    let rows = [row("match/1", 1_234.0, 5.25), row("ack/100", 99.0, 0.0)];
    assert_eq!(parse(&print(&rows)).as_deref(), Some(rows.as_slice()));
    for text in ["", "unit\tinstructions\n", "unit\tinstructions\tallocations\tbytes\nack\t1\n"] {
        assert_eq!(parse(text), None, "{text:?}");
    }
}

#[test]
fn the_checked_in_file_is_one() {
    let rows = parse(include_str!("../../benches/counts.tsv")).unwrap();
    assert!(rows.iter().all(|row| 0.0 < row.instructions), "{rows:?}");
}
