//! Documents that show what commands print: tests run them.

use crate::{
    hub::soon,
    transcript::{Shell, follow},
};

#[tokio::test]
async fn the_first_hour_goes_as_it_is_told() {
    let mut shell = Shell::start().await;
    for heading in ["## The hub", "## An agent", "## It breaks", "## It is repaired"] {
        follow(&mut shell, "first-hour.md", heading).await;
    }
}

/// What is posted before the incident, and the agents that fail on some of it.
const INCIDENT: &str = r#"
cat > hookline.toml <<'END'
[sources.github]
kind = "github"
secrets = ["plain:one"]
[sources.stripe]
kind = "stripe"
secrets = ["plain:two"]
END
hookline serve --config hookline.toml --data ./hookline-data > hub.log 2>&1 &
"#;
const WEBHOOKS: &str = r#"
send() { hookline send --config hookline.toml "$@" - >> posted; }
i=0
while [ $i -lt 1000 ]; do
  i=$((i + 1))
  if [ $((i % 15)) -eq 0 ]; then
    echo "{\"id\":\"evt_$i\",\"type\":\"invoice.paid\",\"created\":1764000000,\"data\":{\"object\":{\"id\":\"in_$i\",\"object\":\"invoice\",\"customer\":\"cus_7\",\"amount_paid\":1250}}}" | send stripe
  elif [ $((i % 3)) -eq 0 ]; then
    echo "{\"id\":\"evt_$i\",\"type\":\"customer.updated\",\"created\":1764000000,\"data\":{\"object\":{\"id\":\"cus_$i\",\"object\":\"customer\"}}}" | send stripe
  elif [ $((i % 100)) -eq 37 ]; then
    echo "{\"action\":\"labeled\",\"issue\":{\"number\":$i},\"repository\":{\"full_name\":\"octo/hello\"},\"sender\":{\"login\":\"mona\"}}" | send github
  else
    echo "{\"action\":\"opened\",\"pull_request\":{\"number\":$i},\"repository\":{\"full_name\":\"octo/hello\"},\"sender\":{\"login\":\"mona\"}}" | send github
  fi
done
"#;
const AGENTS: &str = r#"
cat > agent.sh <<'END'
case "$HOOKLINE_SUBJECT" in
stripe/invoice.*) [ -e tax-service ] || { echo "tax service: timeout after 3$HOOKLINE_SEQUENCE ms" >&2; exit 75; } ;;
github/issues.*) echo "no customer is known for $HOOKLINE_RESOURCE_ID" >&2; exit 65 ;;
esac
END
hookline subscriptions create billing 'stripe/*' 'github/issues.*' --from earliest --max-attempts 2 --initial-backoff 0s > /dev/null
hookline agent --subscription billing --concurrency 4 --consumer one -- sh agent.sh > agent.log 2>&1 &
"#;

#[tokio::test]
async fn an_incident_is_looked_into_and_mended_by_the_command_line_alone() {
    let mut shell = Shell::start().await;
    shell.run(INCIDENT).await;
    shell.find_hub("hub.log").await;
    assert_eq!(shell.run(WEBHOOKS).await, "");
    assert_eq!(shell.run("grep -c '^200 OK .*accepted' posted").await, "1000\n");
    assert_eq!(shell.run(AGENTS).await, "");
    // Until the agent has nothing left: what was announced of its failures is in the log too.
    let over = async {
        while !shell.run("hookline subscriptions show billing").await.contains(" done to 1073,") {}
    };
    soon("the agent to have nothing left", over).await;
    follow(&mut shell, "operations.md", "### What happened").await;
    assert_eq!(shell.run("touch tax-service").await, "");
    follow(&mut shell, "operations.md", "### Back with it").await;
}
