//! What verifying and normalizing costs for each kind, beside what GitHub costs.
//!
//! Of every kind all real bodies are signed and received, or small ones where there are none. The signature's own cost
//! is that of its primitive over the same bytes. The rest may cost 5 us, and for each byte twice what GitHub's costs.
//! A request with a wrong signature must not cost more than the right one. Measured by criterion; of its samples the
//! fastest counts in the table, which is least disturbed by what else the machine does.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a bench that panics has failed; its table is what it is for"
)]

#[path = "../tests/it/ingest_support.rs"]
#[expect(dead_code, reason = "most of it is for tests")]
mod ingest_support;
#[path = "../tests/it/senders.rs"]
#[expect(dead_code, reason = "some of it is for tests")]
mod senders;

use std::{hint::black_box, time::Duration};

use criterion::Criterion;
use ed25519_dalek::Signer as _;
use hmac::{Hmac, KeyInit as _, Mac};
use hookline_core::{normalize::Received, source::Kind, verify::scheme::Primitive};
use http::HeaderValue;
use p256::ecdsa::signature::Verifier as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use crate::senders::{Sender, Sent, real_seeds, small_seeds};

/// What every kind may cost beyond its bytes.
const FIXED_NANOS: f64 = 5_000.0;
/// How much more than GitHub's a kind's bytes may cost.
const FACTOR: f64 = 2.0;
/// By how much a refused request may seem to cost more than an accepted one.
const NOISE: f64 = 1.1;

/// What was measured of a kind, in nanoseconds for a body.
struct Row {
    kind: Kind,
    bodies: usize,
    bytes: f64,
    total: f64,
    primitive: f64,
    /// None where nothing is refused: who signs puts it elsewhere than into a header.
    refused: Option<f64>,
}

impl Row {
    fn rest(&self) -> f64 {
        (self.total - self.primitive).max(0.0)
    }

    fn rest_per_byte(&self) -> f64 {
        self.rest() / self.bytes
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(400))
        .without_plots()
        .configure_from_args();
    let rows: Vec<_> = Kind::all().filter_map(|kind| measure(&mut criterion, kind)).collect();
    criterion.final_summary();
    print(&rows);
}

fn measure(criterion: &mut Criterion, kind: Kind) -> Option<Row> {
    let sender = Sender::of(kind).swap_remove(0);
    let real = real_seeds(kind);
    let seeds = if real.is_empty() { small_seeds(kind) } else { real };
    let sent = seeds.iter().map(|seed| sender.send(&seed.headers, &seed.body).unwrap());
    let is_taken = |sent: &Sent| {
        matches!(sent.give_to(&sender.source), Ok(Received::Events { .. } | Received::Answer(_)))
    };
    let sent: Vec<_> = sent.filter(is_taken).collect();
    let refused: Vec<_> = sent.iter().filter_map(|sent| spoiled(&sender, sent)).collect();
    let count = f64::from(u32::try_from(sent.len()).unwrap());
    let bytes: usize = sent.iter().map(|sent| sent.body.len()).sum();
    let receive = |sent: &Sent| drop(black_box(sent.give_to(&sender.source)));
    let total = fastest(criterion, &format!("{kind}/receive"), &sent, receive)?;
    let primitive = primitive(sender.proof.primitive);
    let verify = |sent: &Sent| {
        black_box(primitive(&sent.body));
    };
    let primitive = fastest(criterion, &format!("{kind}/primitive"), &sent, verify)?;
    let refused = fastest(criterion, &format!("{kind}/refuse"), &refused, receive);
    let bytes = f64::from(u32::try_from(bytes).unwrap()) / count;
    Some(Row { kind, bodies: sent.len(), bytes, total, primitive, refused })
}

/// Returns what one call takes in the fastest of criterion's samples; `None` if criterion is told to leave it out, or
/// there is nothing to call it with.
fn fastest<T>(criterion: &mut Criterion, name: &str, all: &[T], call: impl Fn(&T)) -> Option<f64> {
    let count = u32::try_from(all.len()).ok().filter(|count| 0 < *count)?;
    let mut fastest = None;
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                let took = timed(|| all.iter().for_each(&call));
                let one = took.as_secs_f64() * 1e9 / f64::from(count);
                fastest = Some(fastest.map_or(one, |fastest: f64| fastest.min(one)));
                total += took;
            }
            total
        });
    });
    fastest
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn timed(call: impl FnOnce()) -> Duration {
    let began = std::time::Instant::now();
    call();
    began.elapsed()
}

/// Spoils the signature, so that it is still written as one.
fn spoiled(sender: &Sender, sent: &Sent) -> Option<Sent> {
    let mut sent = sent.clone();
    let hookline_core::verify::scheme::Place::Header(name) = &sender.scheme.place else {
        return None;
    };
    let value = sent.headers.get_mut(name.as_ref())?;
    let mut text = value.as_bytes().to_vec();
    // The eighth from the end is of the signature, and no padding; hexadecimal and base64 have both digits.
    let at = text.len().checked_sub(8)?;
    text[at] = if text[at] == b'1' { b'2' } else { b'1' };
    *value = HeaderValue::from_bytes(&text).unwrap();
    sent.give_to(&sender.source).is_err().then_some(sent)
}

/// What is measured of a body.
type Call = Box<dyn Fn(&[u8]) -> bool>;

/// Returns what a primitive does with a body, as far as it can't be avoided.
fn primitive(primitive: Primitive) -> Call {
    match primitive {
        Primitive::HmacSha1 => mac(Hmac::<Sha1>::new_from_slice(b"secret").unwrap()),
        Primitive::HmacSha256 => mac(Hmac::<Sha256>::new_from_slice(b"secret").unwrap()),
        Primitive::HmacSha512 => mac(Hmac::<Sha512>::new_from_slice(b"secret").unwrap()),
        Primitive::Sha256 => Box::new(|body| Sha256::digest(body)[0] == 0),
        Primitive::Token => Box::new(|body| body.is_empty()),
        Primitive::Ed25519 => {
            let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
            let (public, signature) = (key.verifying_key(), key.sign(b"another body"));
            Box::new(move |body| public.verify_strict(body, &signature).is_ok())
        }
        Primitive::EcdsaP256 => {
            let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
            let signature: p256::ecdsa::Signature = key.sign(b"another body");
            let public = *key.verifying_key();
            Box::new(move |body| public.verify(body, &signature).is_ok())
        }
    }
}

fn mac<M: Mac + Clone + 'static>(mac: M) -> Call {
    Box::new(move |body| mac.clone().chain_update(body).verify_slice(&[0; 32]).is_ok())
}

/// Prints the table with its verdicts.
fn print(rows: &[Row]) {
    let Some(github) = rows.iter().find(|row| row.kind == Kind::GITHUB) else {
        println!("no table: GitHub was not measured, which all others are measured by");
        return;
    };
    let per_byte = FACTOR * github.rest_per_byte();
    println!("\nns a body; the rest may be {FIXED_NANOS} ns + {per_byte:.2} ns a byte\n");
    println!(
        "{:<20} {:>6} {:>8} {:>9} {:>9} {:>9} {:>8} {:>7} {:>7}  verdict",
        "kind", "bodies", "bytes", "total", "primitive", "rest", "ns/byte", "of max", "refused"
    );
    for row in rows {
        let of_max = row.rest() / (FIXED_NANOS + per_byte * row.bytes);
        let refused = row.refused.map(|refused| refused / row.total);
        let verdict = match (of_max <= 1.0, refused.is_none_or(|refused| refused <= NOISE)) {
            (true, true) => "ok",
            (false, _) => "TOO SLOW",
            (true, false) => "REFUSES SLOWLY",
        };
        println!(
            "{:<20} {:>6} {:>8.0} {:>9.0} {:>9.0} {:>9.0} {:>8.2} {:>7.2} {:>7}  {verdict}",
            row.kind.as_str(),
            row.bodies,
            row.bytes,
            row.total,
            row.primitive,
            row.rest(),
            row.rest_per_byte(),
            of_max,
            refused.map_or_else(|| "-".to_owned(), |refused| format!("{refused:.2}")),
        );
    }
}
