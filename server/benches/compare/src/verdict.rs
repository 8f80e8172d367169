//! The bars: what Hookline has set itself, each a ratio of two figures of the same rounds.

use crate::figures::{Report, Summary};

/// A ratio that has to be at least, or at most, so much.
struct Bar {
    text: &'static str,
    part: &'static str,
    one: &'static str,
    other: &'static str,
    limit: Limit,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// Only shown.
    None,
}

use Limit::{AtLeast, AtMost};

const fn bar(
    text: &'static str,
    part: &'static str,
    (one, other): (&'static str, &'static str),
    limit: Limit,
) -> Bar {
    Bar { text, part, one, other, limit }
}

const BARS: &[Bar] = &[
    bar(
        "durable ingest, of a bare axum handler (0.30 is the dream)",
        "ingest",
        ("hookline.rate", "bare.rate"),
        AtLeast(0.25),
    ),
    bar(
        "durable ingest, of JetStream with sync always",
        "ingest",
        ("hookline.rate", "jetstream_always.rate"),
        AtLeast(3.0),
    ),
    bar(
        "durable ingest, of FastAPI with Redis",
        "ingest",
        ("hookline.rate", "fastapi_redis.rate"),
        AtLeast(8.0),
    ),
    bar(
        "durable ingest, of the same work with a plain file",
        "ingest",
        ("hookline.rate", "plain_file.rate"),
        Limit::None,
    ),
    bar(
        "durable ingest, of JetStream with its default sync",
        "ingest",
        ("hookline.rate", "jetstream_default.rate"),
        Limit::None,
    ),
    bar(
        "durable ingest, of Redis Streams with a window of 256",
        "ingest",
        ("hookline.rate", "redis_always.rate"),
        Limit::None,
    ),
    bar(
        "one connection: p50, of the same handler with a plain file",
        "single",
        ("hookline.p50_us", "plain_file.p50_us"),
        AtMost(1.5),
    ),
    bar(
        "consume and ack, in memory, of a bare tonic stream: stubs",
        "consume",
        ("hookline.rate", "bare.rate"),
        AtLeast(0.7),
    ),
    bar(
        "consume and ack, in memory, of a bare tonic stream: library",
        "consume",
        ("hookline.library_rate", "bare.rate"),
        Limit::None,
    ),
    bar(
        "consume and ack, from disk, of a bare tonic stream: stubs",
        "consume",
        ("hookline_disk.rate", "bare.rate"),
        AtLeast(0.45),
    ),
    bar(
        "consume and ack, from disk, of a bare tonic stream: library",
        "consume",
        ("hookline_disk.library_rate", "bare.rate"),
        Limit::None,
    ),
    bar(
        "consume and ack, library, of JetStream's unconfirmed acks",
        "consume",
        ("hookline.library_rate", "jetstream_always.rate"),
        AtLeast(0.5),
    ),
    bar(
        "consume and ack, library, of JetStream's double_ack, 256 at once",
        "consume",
        ("hookline.library_rate", "jetstream_always.double_ack_rate"),
        AtLeast(5.0),
    ),
    bar(
        "the same, of double_ack one by one",
        "consume",
        ("hookline.library_rate", "jetstream_always.double_ack_one_by_one_rate"),
        Limit::None,
    ),
    bar(
        "post to delivery, p50, of JetStream with sync always",
        "deliver",
        ("hookline.p50_us", "jetstream_always.p50_us"),
        AtMost(1.0),
    ),
    bar(
        "post to delivery, p99, of JetStream with sync always",
        "deliver",
        ("hookline.p99_us", "jetstream_always.p99_us"),
        Limit::None,
    ),
    bar(
        "of the p99 of a delivery, what the answer to the post takes",
        "deliver",
        ("hookline_answer.p99_us", "hookline.p99_us"),
        Limit::None,
    ),
    bar(
        "post to delivery at half the maximum rate: p99, of the idle p50",
        "deliver",
        ("hookline_load.p99_us", "hookline.p50_us"),
        AtMost(20.0),
    ),
    bar(
        "fan-out to 100 subscriptions, of the rate with 1",
        "fanout",
        ("many.rate", "few.rate"),
        AtLeast(0.8),
    ),
    bar(
        "ingest beside 1,000 subscriptions that match nothing, of none",
        "fanout",
        ("many.ingest_rate", "few.ingest_rate"),
        AtLeast(0.9),
    ),
];

/// Prints each bar with its verdict.
pub(crate) fn print(report: &Report) {
    println!(
        "\n| ratio | bar | median | least to most | rounds | verdict |\n|---|---|---:|---:|---:|---|"
    );
    for bar in BARS {
        let Some(ratio) = report.ratio(bar.part, bar.one, bar.other) else {
            continue;
        };
        let Summary { least, median, most, rounds } = ratio;
        let (limit, verdict) = judge(bar.limit, median);
        println!(
            "| {} | {limit} | {median:.2} | {least:.2} to {most:.2} | {rounds} | {verdict} |",
            bar.text
        );
    }
}

/// Returns the bar and the verdict as texts.
fn judge(limit: Limit, median: f64) -> (String, &'static str) {
    let (text, holds) = match limit {
        AtLeast(least) => (format!("at least {least}"), least <= median),
        AtMost(most) => (format!("at most {most}"), median <= most),
        Limit::None => return (String::new(), ""),
    };
    (text, if holds { "holds" } else { "does not hold" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_holds_on_its_side_and_on_the_line() {
        assert_eq!(judge(AtLeast(0.25), 0.25).1, "holds");
        assert_eq!(judge(AtLeast(0.25), 0.249).1, "does not hold");
        assert_eq!(judge(AtMost(1.5), 1.5).1, "holds");
        assert_eq!(judge(AtMost(1.5), 1.51).1, "does not hold");
        assert_eq!(judge(Limit::None, 1.0).1, "");
    }

    #[test]
    fn every_bar_names_figures_that_the_tables_have() {
        let known = |part: &str, figure: &str| {
            let rows = crate::table::SECTIONS.iter().flat_map(|section| section.rows);
            rows.into_iter().any(|row| row.part == part && row.figure == figure)
        };
        for bar in BARS {
            assert!(known(bar.part, bar.one), "{} {}", bar.part, bar.one);
            assert!(known(bar.part, bar.other), "{} {}", bar.part, bar.other);
        }
    }
}
