//! A disk that fills up, and has room again; one that can only be read.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use hookline_proto::v1::{ListEventsRequest, Outcome, SubscribeRequest};

use crate::{
    agent::{event_id, everything},
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

/// Mounts a file system of its own, which can only be read once it has an error, and then runs the hub.
const ON_A_FILE_SYSTEM: &str = r#"for data; do :; done; mkdir -p "$data"; image="$data.ext4"
[ -e "$image" ] || { truncate -s 256M "$image" && mkfs.ext4 -q "$image" || exit; }
mount -o loop,errors=remount-ro "$image" "$data" && exec "$@""#;

fn done(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn has_loops() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let made = done(Command::new("mkfs.ext4").arg("-q").arg(&image));
    let mounted =
        made && done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder.path()));
    drop(mounted.then(|| Mounted(folder.path().to_path_buf())));
    mounted
}

/// Has the kernel find an error of the file system, on which it makes it one that can only be read.
fn break_disk(data: &Path) {
    let found = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(data).output().unwrap();
    let device = String::from_utf8(found.stdout).unwrap();
    let device = Path::new(device.trim()).file_name().unwrap().to_owned();
    let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
    fs::write(trigger, "of a test").unwrap();
    assert!(fs::write(data.join("anything"), "x").is_err(), "it can only be read");
}

/// Unmounts it and repairs it, as an operator does.
fn repair_disk(data: &Path) {
    assert!(done(Command::new("umount").arg(data)));
    let repaired = Command::new("e2fsck").arg("-fy").arg(data.with_extension("ext4")).output();
    // 1: errors were corrected.
    assert!(matches!(repaired.unwrap().status.code(), Some(0 | 1)));
}

#[tokio::test]
#[ignore = "mounts a file system, which takes root: CI runs it"]
async fn a_disk_that_can_only_be_read_confirms_nothing_and_what_was_confirmed_is_there_once_it_is_repaired()
 {
    if !has_loops() {
        println!("skipped: mounting a file is not permitted here");
        return;
    }
    let wrapper = ["sh", "-c", ON_A_FILE_SYSTEM, "sh"].map(str::to_owned).to_vec();
    let mut hub = Hub::start_with(Settings { wrapper, ..Settings::default() }).await;
    let data = hub.folder().join("data");
    let mounted = Mounted(data.clone());
    let agent = hub.agent().await;
    let two = SubscribeRequest { max_in_flight: Some(2), ..everything("work") };
    let mut stream = agent.subscribe(two).await;
    hub.take_each(["a", "b"]).await;
    let (a, b) = (stream.delivery().await, stream.delivery().await);
    assert_eq!(agent.ack(&[&a.lease_id]).await, [Outcome::Applied]);

    break_disk(&data);
    let refused = hub.post(&Webhook::push("c")).await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(agent.ack(&[&b.lease_id]).await, [Outcome::Retry], "not known to be written");
    let said = until_ready(&hub, 503).await;
    println!("/readyz: {said}");
    // What is there can be looked at.
    assert_eq!(agent.list(ListEventsRequest::default()).await.len(), 2);
    hub.terminate();
    hub.exited().await;
    repair_disk(&data);

    hub.start_again().await;
    let agent = hub.agent().await;
    let mut stream = agent.subscribe(everything("work")).await;
    let again = stream.delivery().await;
    assert_eq!(event_id(&again), event_id(&b), "what was not acked");
    assert_eq!(agent.ack(&[&again.lease_id]).await, [Outcome::Applied]);
    hub.take_each(["c"]).await;
    hub.kill().await;
    hub.check().await;
    drop(mounted);
}
