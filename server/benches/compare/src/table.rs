//! The figures as tables for people.

use crate::figures::{Report, Round, Summary};

/// A row of a table: which part, which contender's figure, and what to call it.
pub(crate) struct Row {
    pub(crate) part: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) text: &'static str,
}

/// Rows of one kind, with the unit of their figures.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) rows: &'static [Row],
}

macro_rules! rows {
    ($part:literal: $($figure:literal $text:literal),+ $(,)?) => {
        &[$(Row { part: $part, figure: $figure, text: $text }),+]
    };
}

/// What is shown, in this order; the plot has the same.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "Durable ingest, events/s",
        rows: rows!["ingest":
            "bare.rate" "axum, reads the body and answers; keeps nothing",
            "plain_file.rate" "the same work as Hookline's, group commit to a plain file",
            "hookline.rate" "Hookline",
            "jetstream_always.rate" "JetStream, sync always, window 256",
            "jetstream_default.rate" "JetStream, its default: synced every 2 minutes",
            "redis_always.rate" "Redis Streams, appendfsync always, window 256",
            "fastapi_redis.rate" "FastAPI, one worker, Redis Streams",
        ],
    },
    Section {
        title: "Consume and ack, events/s",
        rows: rows!["consume":
            "bare.rate" "tonic stream from memory, acks answered at once",
            "hookline.rate" "Hookline, in memory, contract's stubs",
            "hookline.library_rate" "Hookline, in memory, client library",
            "hookline_disk.rate" "Hookline, from disk, contract's stubs",
            "hookline_disk.library_rate" "Hookline, from disk, client library",
            "jetstream_always.rate" "JetStream, acks not confirmed; sync always",
            "jetstream_default.rate" "JetStream, acks not confirmed; default sync",
            "jetstream_always.double_ack_rate" "JetStream, double_ack, 256 at once; sync always",
            "jetstream_default.double_ack_rate" "JetStream, double_ack, 256 at once; default sync",
            "jetstream_always.double_ack_one_by_one_rate" "JetStream, double_ack, one by one; sync always",
            "redis_always.rate" "Redis Streams, XREADGROUP and XACK of 256",
        ],
    },
    Section {
        title: "One connection: time until it is durable, p50 in microseconds",
        rows: rows!["single":
            "disk_sync.p50_us" "append of 2 KB and fdatasync, no server",
            "sled_sync.p50_us" "insert of 2 KB into sled, its flush and fdatasync, no server",
            "plain_file.p50_us" "the same handler, append and fdatasync of a plain file",
            "hookline.p50_us" "Hookline",
            "jetstream_always.p50_us" "JetStream, sync always",
            "jetstream_default.p50_us" "JetStream, default sync",
            "redis_always.p50_us" "Redis Streams, appendfsync always",
            "fastapi_redis.p50_us" "FastAPI, Redis Streams",
        ],
    },
    Section {
        title: "Post to delivery, one at a time, p50 in microseconds",
        rows: rows!["deliver":
            "hookline.p50_us" "Hookline",
            "hookline_answer.p50_us" "Hookline: its answer to the post",
            "jetstream_always.p50_us" "JetStream, sync always",
            "jetstream_default.p50_us" "JetStream, default sync",
        ],
    },
    Section {
        title: "The same, p99 in microseconds",
        rows: rows!["deliver":
            "hookline.p99_us" "Hookline",
            "hookline_answer.p99_us" "Hookline: its answer to the post",
            "jetstream_always.p99_us" "JetStream, sync always",
            "jetstream_default.p99_us" "JetStream, default sync",
        ],
    },
    Section {
        title: "Post to delivery at half the maximum rate, in microseconds",
        rows: rows!["deliver":
            "hookline_load.p50_us" "Hookline, p50",
            "hookline_load_answer.p50_us" "Hookline, p50 of its answer to the post",
            "hookline_load.p99_us" "Hookline, p99",
            "hookline_load_answer.p99_us" "Hookline, p99 of its answer to the post",
        ],
    },
    Section {
        title: "Fan-out of 2,000 events, deliveries/s in all; ingest beside subscriptions, events/s",
        rows: rows!["fanout":
            "few.rate" "deliveries with 1 subscription",
            "many.rate" "deliveries with 100 subscriptions",
            "few.ingest_rate" "ingest with no subscription",
            "many.ingest_rate" "ingest with 1,000 that match nothing",
        ],
    },
    Section {
        title: "Processor time of the server per event, microseconds",
        rows: rows!["ingest":
            "bare.cpu_us" "ingest: axum, keeps nothing",
            "plain_file.cpu_us" "ingest: group commit to a plain file",
            "hookline.cpu_us" "ingest: Hookline",
            "jetstream_always.cpu_us" "ingest: JetStream, sync always",
            "jetstream_default.cpu_us" "ingest: JetStream, default sync",
            "redis_always.cpu_us" "ingest: Redis Streams",
            "fastapi_redis.cpu_us" "ingest: FastAPI and Redis",
        ],
    },
    Section {
        title: "The same, of consuming",
        rows: rows!["consume":
            "bare.cpu_us" "tonic stream from memory",
            "hookline.cpu_us" "Hookline, in memory",
            "hookline_disk.cpu_us" "Hookline, from disk",
            "jetstream_always.cpu_us" "JetStream, acks not confirmed",
            "redis_always.cpu_us" "Redis Streams",
        ],
    },
    Section {
        title: "Beside these",
        rows: &[
            Row {
                part: "consume",
                figure: "bare.message_bytes",
                text: "bytes of a delivery: tonic stream",
            },
            Row {
                part: "consume",
                figure: "hookline.message_bytes",
                text: "bytes of a delivery: Hookline",
            },
            Row {
                part: "deliver",
                figure: "hookline.load_rate",
                text: "half the maximum rate, events/s",
            },
        ],
    },
    Section {
        title: "What other programs took of the processors meanwhile, %",
        rows: &[
            Row { part: "ingest", figure: OTHERS, text: "ingest" },
            Row { part: "single", figure: OTHERS, text: "single" },
            Row { part: "consume", figure: OTHERS, text: "consume" },
            Row { part: "deliver", figure: OTHERS, text: "deliver" },
            Row { part: "fanout", figure: OTHERS, text: "fanout" },
        ],
    },
];

/// How a round says what other programs took.
pub(crate) const OTHERS: &str = "machine.others_percent";

/// Prints one part of one round as it is done.
pub(crate) fn round(round: &Round) {
    println!("{} {}: in the order {}", round.part, round.number, round.order.join(", "));
    for (name, value) in &round.figures {
        println!("  {name:<46} {value:>12.1}");
    }
}

/// Prints all medians, with their least and most, as tables of Markdown.
pub(crate) fn print(report: &Report) {
    println!();
    for facts in [&report.machine, &report.versions, &report.settings] {
        let facts: Vec<_> = facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        println!("{}", facts.join("; "));
    }
    for section in SECTIONS {
        let rows: Vec<_> = section
            .rows
            .iter()
            .filter_map(|row| Some((row.text, report.summary(row.part, row.figure)?)))
            .collect();
        if rows.is_empty() {
            continue;
        }
        println!("\n| {} | median | least to most |\n|---|---:|---:|", section.title);
        for (text, Summary { least, median, most, rounds: _ }) in rows {
            println!("| {text} | {} | {} to {} |", number(median), number(least), number(most));
        }
    }
}

/// Returns a number as people write it: `12,345`, `123`, `12.3`.
pub(crate) fn number(value: f64) -> String {
    let digits = if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if 0 < at && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(1_234_567.4, "1,234,567"), (100.0, "100"), (99.94, "99.9"), (0.25, "0.2")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
