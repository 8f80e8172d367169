//! The smallest agent: works on each new issue, acks it, and hears of it again if it fails.

#![expect(clippy::print_stdout, reason = "an example speaks")]

use hookline_client::Client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:4160".into());
    let agent = Client::connect(address)?.subscription("triage").patterns(["github/issues.*"]);
    agent
        .run(4, |delivery| async move {
            let (event, attempt) = (delivery.event(), delivery.attempt());
            println!("{} by {}, attempt {attempt}", event.resource_id, event.actor);
            Ok::<_, std::io::Error>(()) // Ok acks; Err nacks, with the error as the reason
        })
        .await?;
    Ok(())
}
