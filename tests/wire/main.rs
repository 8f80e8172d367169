//! Tests through the wire: the real binary on free ports of loopback, with a data folder of its own.
//!
//! Names of tests begin with the scenario that they show, such as `a1`, where there is one. Nothing here waits for
//! time to pass: a test waits for what the hub says, and a wait that is in vain fails after [`hub::PATIENCE`].
//!
//! What is ignored needs a tool or minutes, and is run by CI. The environment may say where things are:
//! `HOOKLINE_PAYLOADS` (a folder of real bodies; without it those tests say so and pass), `HOOKLINE_PYTHON` (with
//! `grpcio`, `grpcio-tools`, and `tests/sdk/python/requirements.txt`), `HOOKLINE_NODE`, `HOOKLINE_NODE_MODULES` (a folder
//! of `tests/sdk/node/package-lock.json`), `HOOKLINE_GRPCURL`, `HOOKLINE_PROMTOOL`, `HOOKLINE_KILL_ROUNDS`, and
//! `HOOKLINE_ATTACK_ROUNDS`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a test that panics has failed; what it skips or measures it has to say"
)]

mod agent;
mod agents;
mod attacks;
mod auth;
mod backup;
mod bad_calls;
mod bad_posts;
mod certs;
mod checkpoints;
mod cli;
mod corpus;
mod dead_letters;
mod disk;
mod documents;
mod filters;
mod flow;
mod history;
mod http;
mod hub;
#[path = "../../server/core/tests/it/kinds/keys.rs"]
mod keys;
mod kill;
mod kill_flows;
mod kinds;
mod leases;
mod list;
mod log;
mod logs;
mod metrics;
mod operator;
#[path = "../../server/core/tests/it/ingest_oracle.rs"]
mod oracle;
mod peers;
mod positions;
mod readme;
mod reload;
mod replay;
mod resource_kills;
mod resources;
mod retention;
mod retries;
mod sdks;
mod services;
mod shutdown;
mod strace;
mod streams;
mod subscriptions;
mod tls;
mod traces;
mod transcript;
mod tried;
