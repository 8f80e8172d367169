//! Tests of the core that need more than one module.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a test that panics has failed; what it skips it has to say"
)]

mod ingest_corpus;
mod ingest_github;
mod ingest_oracle;
mod ingest_properties;
mod ingest_stripe;
mod ingest_support;
mod ingest_verify;
mod patterns;
