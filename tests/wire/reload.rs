//! SIGHUP: a new configuration for a hub that goes on.

use std::fs;

use hookline_proto::v1::{ListSourcesRequest, source_service_client::SourceServiceClient};
use tempfile::TempDir;

use crate::{
    http::{Connection, SECRET, Webhook},
    hub::{Hub, Settings, soon},
    retention::keeps,
};

struct Reloaded {
    hub: Hub,
    file: TempDir,
    /// Open from the beginning to the end.
    http: Connection,
    posts: usize,
}

impl Reloaded {
    async fn start() -> Self {
        let file = TempDir::new().unwrap();
        let path = file.path().join("hub.toml");
        fs::write(&path, "").unwrap();
        let variables = vec![("HOOKLINE_CONFIG".to_owned(), path.to_str().unwrap().to_owned())];
        let hub = Hub::start_with(Settings { variables, ..Settings::default() }).await;
        let http = hub.http().await;
        Self { hub, file, http, posts: 0 }
    }

    fn reload(&self, text: &str) {
        fs::write(self.file.path().join("hub.toml"), text).unwrap();
        self.hub.hang_up();
    }

    /// Posts something new, and returns the status of the answer.
    async fn post(&mut self, source: &str, bytes: usize) -> u16 {
        self.posts += 1;
        let body = format!(r#"{{"text": "{}"}}"#, "x".repeat(bytes));
        let mut webhook = Webhook::github("push", &format!("{}", self.posts), body);
        source.clone_into(&mut webhook.source);
        self.http.post(&webhook).await.unwrap().status
    }

    async fn until(&mut self, source: &str, bytes: usize, status: u16) {
        let becoming = async {
            while self.post(source, bytes).await != status {
                tokio::task::yield_now().await;
            }
        };
        soon("the new configuration", becoming).await;
    }

    async fn logs(&self, text: &str) {
        let coming = async {
            while !self.hub.logged().contains(text) {
                tokio::task::yield_now().await;
            }
        };
        soon(text, coming).await;
    }

    async fn sources(&self) -> Vec<String> {
        let mut service = SourceServiceClient::new(self.hub.agent().await.channel);
        let sources = service.list_sources(ListSourcesRequest {}).await.unwrap().into_inner();
        sources.sources.into_iter().map(|source| source.name).collect()
    }
}

#[tokio::test]
async fn sources_and_limits_change_without_a_restart_and_mistakes_change_nothing() {
    let mut it = Reloaded::start().await;
    assert_eq!((it.post("github", 10).await, it.post("extra", 10).await), (200, 404));

    let extra = format!("[sources.extra]\nkind = \"github\"\nsecrets = [\"plain:{SECRET}\"]\n");
    it.reload(&format!("[store]\ncache = \"32MiB\"\n{extra}"));
    it.until("extra", 10, 200).await;
    assert_eq!(it.sources().await, ["extra", "github", "stripe"]);
    it.logs("store.cache").await;

    // Both mistakes are told, and none of it holds.
    it.reload("[http]\nmax_body = \"much\"\n[sources.other]\nkind = \"none\"\nunsigned = true\n");
    it.logs("the old one still holds").await;
    let logged = it.hub.logged();
    assert!(logged.contains("http.max_body") && logged.contains("sources.other.kind"), "{logged}");
    assert_eq!((it.post("extra", 10).await, it.post("other", 10).await), (200, 404));

    it.reload("[http]\nmax_body = \"64KiB\"\n[log]\nlevel = \"debug\"\n");
    it.until("extra", 10, 404).await;
    // After this answer the hub closes the connection.
    assert_eq!(it.post("github", 100_000).await, 413);
    it.http = it.hub.http().await;
    assert_eq!(it.post("github", 10).await, 200);
    it.logs("webhook taken").await;
    assert_eq!(it.sources().await, ["github", "stripe"]);
}

#[tokio::test]
async fn what_is_kept_changes_without_a_restart() {
    let mut it = Reloaded::start().await;
    for _ in 0..3 {
        assert_eq!(it.post("github", 10).await, 200);
    }
    let agent = it.hub.agent().await;
    keeps(&agent, &[1, 2, 3]).await;
    it.reload("[retention]\nmax_age = \"0s\"\n");
    keeps(&agent, &[]).await;
}
