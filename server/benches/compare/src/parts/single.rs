//! How long one event takes to become durable: one connection, the next post after the answer.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    time::Instant,
};

use super::{Bench, Contender, jetstream, redis_streams};
use crate::{
    Outcome,
    figures::{Figures, Latencies},
    http::Connection,
    servers::{Server, Sync},
};

/// How many are measured, and how many come before.
const EVENTS: usize = 2_000;
const WARMING: usize = 200;
/// As large as a compressed event is about.
const PROBE_BYTES: usize = 2_048;

pub(super) async fn measure(
    bench: &Bench,
    contender: Contender,
    data: &Path,
    figures: &mut Figures,
) -> Outcome {
    let name = contender.name();
    match contender {
        Contender::PlainFile => {
            probe_file(data, figures)?;
            probe_sled(data, figures)?;
            let file = data.join("events").to_string_lossy().into_owned();
            let server = Server::own(&["plain", "--file", &file, "--writer", "inline"])?;
            posts(bench, name, &server, figures).await
        }
        Contender::Hookline => posts(bench, name, &Server::hub(&bench.tools, data)?, figures).await,
        Contender::Fastapi => {
            posts(bench, name, &Server::fastapi(&bench.tools, data)?, figures).await
        }
        Contender::NatsAlways => nats(bench, name, data, Sync::Always, figures).await,
        Contender::NatsDefault => nats(bench, name, data, Sync::Default, figures).await,
        Contender::Redis => redis(bench, name, data, figures).await,
        Contender::Bare | Contender::HooklineDisk | Contender::Few | Contender::Many => Ok(()),
    }
}

/// Measures what the disk takes by itself: an append of 2 KB and `fdatasync`.
fn probe_file(data: &Path, figures: &mut Figures) -> Outcome {
    let mut file = OpenOptions::new().create(true).append(true).open(data.join("probe"))?;
    probe("disk_sync", figures, |_| {
        file.write_all(&[0x5a; PROBE_BYTES])?;
        Ok(file.sync_data()?)
    })
}

/// Measures what the hub's log takes by itself: an insert of 2 KB, sled's flush, and the `fdatasync` that it leaves out, with
/// what the hub's store asks of sled.
fn probe_sled(data: &Path, figures: &mut Figures) -> Outcome {
    let folder = data.join("probe.sled");
    let config = sled::Config::new().path(&folder).segment_size(8 * 1024 * 1024);
    let log = config.flush_every_ms(Some(50)).open()?;
    let file = File::open(folder.join("db"))?;
    probe("sled_sync", figures, |number| {
        log.insert(number.to_be_bytes(), &[0x5a; PROBE_BYTES][..])?;
        log.flush()?;
        Ok(file.sync_data()?)
    })
}

fn probe(name: &str, figures: &mut Figures, mut write: impl FnMut(usize) -> Outcome) -> Outcome {
    let mut latencies = Latencies::default();
    for number in 0..EVENTS {
        let began = Instant::now();
        write(number)?;
        if WARMING <= number {
            latencies.add(began.elapsed());
        }
    }
    latencies.put(figures, name);
    Ok(())
}

async fn posts(bench: &Bench, name: &str, server: &Server, figures: &mut Figures) -> Outcome {
    let mut connection = Connection::open(&server.url).await?;
    let mut latencies = Latencies::default();
    for number in 0..WARMING + EVENTS {
        let request = bench.bodies.request(number, &format!("single-{number}"));
        let began = Instant::now();
        connection.post(&request).await?;
        if WARMING <= number {
            latencies.add(began.elapsed());
        }
    }
    latencies.put(figures, name);
    Ok(())
}

async fn nats(
    bench: &Bench,
    name: &str,
    data: &Path,
    sync: Sync,
    figures: &mut Figures,
) -> Outcome {
    let server = Server::nats(&bench.tools, data, sync)?;
    let (context, _stream) = jetstream::create(&server).await?;
    let mut latencies = Latencies::default();
    for number in 0..WARMING + EVENTS {
        let body = bench.bodies.body(number);
        let began = Instant::now();
        jetstream::publish(&context, body).await?;
        if WARMING <= number {
            latencies.add(began.elapsed());
        }
    }
    latencies.put(figures, name);
    Ok(())
}

async fn redis(bench: &Bench, name: &str, data: &Path, figures: &mut Figures) -> Outcome {
    let server = Server::redis(&bench.tools, data)?;
    let connection = redis_streams::connect(&server).await?;
    let mut latencies = Latencies::default();
    for number in 0..WARMING + EVENTS {
        let body = bench.bodies.body(number);
        let began = Instant::now();
        redis_streams::add(connection.clone(), body).await?;
        if WARMING <= number {
            latencies.add(began.elapsed());
        }
    }
    latencies.put(figures, name);
    Ok(())
}
