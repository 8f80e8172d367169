//! Tests of the core that need more than one module.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a test that panics has failed; what it skips it has to say"
)]

mod comparisons;
mod counts;
mod delivery;
mod docs;
mod filters;
mod fuzz;
mod ingest_batches;
mod ingest_bitbucket;
mod ingest_bitbucket_server;
mod ingest_bodies;
mod ingest_chats;
mod ingest_cloudevents;
mod ingest_corpus;
mod ingest_forges;
mod ingest_github;
mod ingest_gitlab;
mod ingest_graph;
mod ingest_jira;
mod ingest_oracle;
mod ingest_properties;
mod ingest_schemes;
mod ingest_services;
mod ingest_slack;
mod ingest_standard;
mod ingest_stripe;
mod ingest_support;
mod ingest_tables;
mod ingest_vectors;
mod ingest_verify;
mod ingest_whatsapp;
mod ingest_zoom;
mod kinds;
mod patterns;
mod senders;
mod traps;
