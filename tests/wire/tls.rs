//! TLS on both listeners, with the real binary.

use std::{fs, path::Path};

use hookline_client::{Client, Start};
use hookline_proto::v1::ListSubscriptionsRequest;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
};

use crate::{
    agents::tool,
    certs::{Authority, Identity, file},
    http::SECRET,
    hub::{Hub, Settings, soon},
};

/// A hub with TLS on both listeners, the files of which lie in a folder.
async fn serve(folder: &Path, identity: &Identity, client_ca: Option<&Authority>) -> Hub {
    let (cert, key) = identity.write(folder, "hub");
    let mut variables = Vec::new();
    for listener in ["HTTP", "GRPC"] {
        for (name, path) in [("CERT", &cert), ("KEY", &key)] {
            let path = path.to_str().unwrap().to_owned();
            variables.push((format!("HOOKLINE_{listener}__TLS__{name}"), path));
        }
    }
    if let Some(authority) = client_ca {
        let path = file(folder, "clients.pem", &authority.pem());
        let path = path.to_str().unwrap().to_owned();
        variables.push(("HOOKLINE_GRPC__TLS__CLIENT_CA".to_owned(), path));
    }
    Hub::start_with(Settings { variables, ..Settings::default() }).await
}

/// Posts a webhook by the command, and returns its exit code and what it said.
async fn send(hub: &Hub, more: &[&str]) -> (Option<i32>, String) {
    let body = file(
        hub.folder(),
        "body.json",
        r#"{"action":"opened","number":7,"pull_request":{"number":7}}"#,
    );
    let url = format!("https://{}/webhooks/github", hub.http_address());
    let secret = format!("plain:{SECRET}");
    let output = Command::new(env!("CARGO_BIN_EXE_hookline"))
        .env_clear()
        .args(["send", "github", body.to_str().unwrap(), "--kind", "github"])
        .args(["--secret", &secret, "--url", &url])
        .args(more)
        .output();
    let output = soon("the command", output).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn client(hub: &Hub, ca: &str, identity: Option<&Identity>) -> Client {
    let mut builder = Client::builder(format!("https://{}", hub.grpc_address()));
    builder = builder.ca_certificates(ca);
    if let Some(Identity { cert, key }) = identity {
        builder = builder.identity(cert, key);
    }
    builder.connect().unwrap()
}

/// Whether the hub lets this client in.
async fn is_let_in(client: &Client) -> Result<(), String> {
    let mut subscriptions = client.subscriptions();
    let request = ListSubscriptionsRequest::default();
    let listed = soon("an answer", subscriptions.list_subscriptions(request)).await;
    listed.map(drop).map_err(|status| format!("{status:?}"))
}

#[tokio::test]
async fn webhooks_and_agents_come_over_tls_and_nobody_comes_without() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new();
    let hub = serve(folder.path(), &authority.issue(), None).await;
    let ca = file(folder.path(), "ca.pem", &authority.pem());
    // Those who never make their handshakes hold up nobody.
    let mut silent = Vec::new();
    for address in [hub.http_address(), hub.grpc_address()].repeat(20) {
        silent.push(TcpStream::connect(address).await.unwrap());
    }

    let (code, said) = send(&hub, &["--ca-cert", ca.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("accepted"), "{said}");
    let (code, said) = send(&hub, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("certificate"), "{said}");

    let trusting = client(&hub, &authority.pem(), None);
    let builder = trusting.subscription("work").patterns(["github"]).start(Start::Earliest);
    let mut deliveries = soon("a stream", builder.subscribe()).await.unwrap();
    let delivery = soon("the event", deliveries.next()).await.unwrap().unwrap();
    assert_eq!(delivery.event().source, "github");
    delivery.ack().await.unwrap();

    let refused = is_let_in(&client(&hub, &Authority::new().pem(), None)).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    let plain = Client::connect(hub.grpc_address().to_string()).unwrap();
    is_let_in(&plain).await.unwrap_err();
    let mut plain = TcpStream::connect(hub.http_address()).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // It may also be reset.
    soon("the end", plain.read_to_end(&mut answer)).await.ok();
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    is_let_in(&trusting).await.unwrap();
}

#[tokio::test]
async fn with_a_client_ca_only_those_are_let_in_whose_certificates_it_has_signed() {
    let folder = TempDir::new().unwrap();
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let hub = serve(folder.path(), &authority.issue(), Some(&of_clients)).await;
    let ca = authority.pem();
    is_let_in(&client(&hub, &ca, Some(&of_clients.issue()))).await.unwrap();
    is_let_in(&client(&hub, &ca, None)).await.unwrap_err();
    is_let_in(&client(&hub, &ca, Some(&authority.issue()))).await.unwrap_err();

    // The same by the command.
    let address = format!("https://{}", hub.grpc_address());
    let ca = file(folder.path(), "ca.pem", &ca);
    let (cert, key) = of_clients.issue().write(folder.path(), "client");
    let [ca, cert, key] = [ca, cert, key].map(|path| path.to_str().unwrap().to_owned());
    let status = async |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookline"));
        command.env_clear().args(["status", "--address", &address, "--ca-cert", &ca]).args(more);
        soon("the command", command.output()).await.unwrap().status.code()
    };
    assert_eq!(status(&["--client-cert", &cert, "--client-key", &key]).await, Some(0));
    assert_eq!(status(&[]).await, Some(1));
    assert_eq!(status(&["--client-cert", &cert]).await, Some(64));
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let folder = TempDir::new().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let hub = serve(folder.path(), &old.issue(), None).await;
    let before = client(&hub, &old.pem(), None);
    is_let_in(&before).await.unwrap();

    fs::write(folder.path().join("hub.pem"), "-----BEGIN CERTIFICATE-----\nno\n").unwrap();
    soon("the complaint", async {
        while !hub.logged().contains("hub.pem") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    is_let_in(&client(&hub, &old.pem(), None)).await.unwrap();

    new.issue().write(folder.path(), "hub");
    soon("the new certificate", async {
        while is_let_in(&client(&hub, &new.pem(), None)).await.is_err() {}
    })
    .await;
    is_let_in(&client(&hub, &old.pem(), None)).await.unwrap_err();
    // A connection that is open stays.
    is_let_in(&before).await.unwrap();
    let ca = file(folder.path(), "ca.pem", &new.pem());
    let (code, said) = send(&hub, &["--ca-cert", ca.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
#[ignore = "needs grpcurl"]
async fn grpcurl_shows_its_certificate() {
    let folder = TempDir::new().unwrap();
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let hub = serve(folder.path(), &authority.issue(), Some(&of_clients)).await;
    let ca = file(folder.path(), "ca.pem", &authority.pem());
    let (cert, key) = of_clients.issue().write(folder.path(), "client");
    let listed = Command::new(tool("HOOKLINE_GRPCURL", "grpcurl"))
        .arg("-cacert")
        .arg(ca)
        .arg("-cert")
        .arg(cert)
        .arg("-key")
        .arg(key)
        .args([&hub.grpc_address().to_string(), "list"])
        .output();
    let listed = soon("grpcurl", listed).await.unwrap();
    let said = String::from_utf8([listed.stdout, listed.stderr].concat()).unwrap();
    assert!(said.contains("hookline.v1.EventService\n"), "{said}");
}
