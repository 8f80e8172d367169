//! A disk that fills up, and has room again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hookline_proto::v1::Outcome;

use crate::{
    agent::everything,
    http::Webhook,
    hub::{Hub, Settings, soon},
};

/// Mounts a disk of memory on the folder that is the last argument, and then runs the hub.
const ON_A_DISK: &str = r#"for data; do :; done; mkdir -p "$data"; mount -t tmpfs -o size=256m tmpfs "$data" && exec "$@""#;

/// Unmounts it again, also when the test fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(folder.path()).output();
    let mounted = mount.is_ok_and(|output| output.status.success());
    drop(mounted.then(|| Mounted(folder.path().to_path_buf())));
    mounted
}

async fn ready(hub: &Hub) -> (u16, String) {
    let answer = hub.http().await.get("/readyz").await.unwrap();
    (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
}

async fn until_ready(hub: &Hub, status: u16) -> String {
    let becoming = async {
        loop {
            let (is, said) = ready(hub).await;
            if is == status {
                return said;
            }
        }
    };
    soon("readiness to change", becoming).await
}

fn fill(data: &Path) -> PathBuf {
    let ballast = data.join("ballast");
    fs::write(&ballast, vec![1; 150 << 20]).unwrap();
    ballast
}

#[tokio::test]
#[ignore = "mounts a disk of memory, which takes root: CI runs it"]
async fn i4_before_the_disk_is_full_events_are_refused_and_acks_go_on_until_there_is_room() {
    if !can_mount() {
        println!("skipped: mounting is not permitted here");
        return;
    }
    let wrapper = ["sh", "-c", ON_A_DISK, "sh"].map(str::to_owned).to_vec();
    let mut hub = Hub::start_with(Settings { wrapper, ..Settings::default() }).await;
    let data = hub.folder().join("data");
    let _mounted = Mounted(data.clone());
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    hub.take_each(["a"]).await;
    let lease = stream.delivery().await.lease_id;
    for round in ["b", "c"] {
        let ballast = fill(&data);
        let said = until_ready(&hub, 503).await;
        assert!(said.contains("the disk is almost full"), "{said}");
        let refused = hub.post(&Webhook::push(round)).await;
        assert_eq!(refused.status, 503);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        if round == "b" {
            assert_eq!(agent.ack(&[&lease]).await, [Outcome::Applied], "acks go on");
        }
        fs::remove_file(ballast).unwrap();
        until_ready(&hub, 200).await;
        hub.take_each([round]).await;
    }
    hub.kill().await;
    hub.check().await;
}
