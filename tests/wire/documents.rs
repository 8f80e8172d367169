//! Documents that show what commands print: tests run them.

use crate::transcript::{Shell, follow};

#[tokio::test]
async fn the_first_hour_goes_as_it_is_told() {
    let mut shell = Shell::start().await;
    for heading in ["## The hub", "## An agent", "## It breaks", "## It is repaired"] {
        follow(&mut shell, "first-hour.md", heading).await;
    }
}
