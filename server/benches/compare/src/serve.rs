//! The servers of this program's own: the least that could take an event, keep it, or hand it out.

mod bare;
mod plain;
mod stream;

use std::path::PathBuf;

use clap::Subcommand;
use tokio::net::TcpListener;

use crate::Outcome;

/// Which server to be.
#[derive(Debug, Subcommand)]
pub(crate) enum Serve {
    /// An axum handler that reads the body and answers.
    Bare,
    /// One that verifies, normalizes, compresses, appends to a plain file and syncs it.
    Plain {
        /// The file.
        #[arg(long)]
        file: PathBuf,
        /// Where to write.
        #[arg(long, value_enum)]
        writer: plain::Writer,
    },
    /// A tonic server that streams deliveries from memory, and answers acks at once.
    Stream {
        /// The folder of bodies.
        #[arg(long)]
        bodies: PathBuf,
        /// How many deliveries a stream has.
        #[arg(long)]
        count: usize,
    },
}

/// Serves until it is killed; says `ready http=URL` or `ready grpc=URL` first.
pub(crate) async fn run(serve: Serve) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    match serve {
        Serve::Bare => {
            println!("ready http=http://{address}");
            bare::run(listener).await
        }
        Serve::Plain { file, writer } => {
            println!("ready http=http://{address}");
            plain::run(listener, &file, writer).await
        }
        Serve::Stream { bodies, count } => {
            let deliveries = stream::prepare(&bodies)?;
            println!("ready grpc=http://{address}");
            stream::run(listener, deliveries, count).await
        }
    }
}
