//! Ends at any time, one kind after the other.

use crate::kill::{How, end_and_start_again};

#[tokio::test]
#[ignore = "minutes; run by CI"]
async fn what_was_confirmed_survives_stops_and_kills_by_turns_at_random_moments() {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to read it")]
    let rounds = std::env::var("HOOKLINE_ATTACK_ROUNDS").map_or(6, |text| text.parse().unwrap());
    end_and_start_again(rounds, &[How::Stopped, How::Killed]).await;
}
