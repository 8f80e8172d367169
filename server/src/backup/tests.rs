//! What is written is read again, and anything else is told.

use std::{fs, path::Path};

use bytes::Bytes;
use hookline_proto::v1::BackupRow;

use super::*;
use crate::store::export::Row;

fn manifest() -> Manifest {
    Manifest {
        format: 1,
        hookline_version: "0.1.0".to_owned(),
        layout_version: 1,
        created_at: "2026-11-23T08:58:12.000Z".to_owned(),
        mark: 7,
        first: 1,
        subscription_count: 2,
        row_count: 0,
        byte_count: 0,
        files: Vec::new(),
    }
}

fn row(n: u8) -> Row {
    Row { key: Bytes::from(vec![1, n]), content: Bytes::from(vec![n; usize::from(n) * 100]) }
}

fn write(target: &Path) -> Manifest {
    let mut writing = Writing::begin(target, manifest()).unwrap();
    for (section, numbers) in [("subscriptions", 1..=3), ("log", 2..=5)] {
        for n in numbers {
            let mut records = Vec::new();
            let Row { key, content } = row(n);
            push_record(&mut records, &BackupRow { key, content });
            writing.put(section, 1, &records).unwrap();
        }
    }
    assert!(!target.exists(), "it has no name yet");
    writing.finish(7).unwrap()
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/backup");
    let written = write(&target);
    assert_eq!(
        entries(&target),
        ["log-0001.records", "manifest.json", "subscriptions-0001.records"]
    );
    let backup = Backup::open(&target).unwrap();
    assert_eq!((backup.manifest(), written.row_count), (&written, 7));
    backup.verify(&mut |_| {}).unwrap();
    let rows: Vec<_> = backup.rows().map(Result::unwrap).collect();
    assert_eq!(rows, [1, 2, 3, 2, 3, 4, 5].map(row));
}

#[test]
fn what_was_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    let mut writing = Writing::begin(&target, manifest()).unwrap();
    writing.put("log", 1, b"x").unwrap();
    drop(writing);
    let writing = Writing::begin(&target, manifest()).unwrap();
    assert!(matches!(writing.finish(1), Err(BackupError::Incomplete { came: 0, sent: 1 })));
    assert_eq!(entries(folder.path()), [""; 0]);
    assert!(matches!(Backup::open(folder.path()), Err(BackupError::NoBackup(_))));
    write(&target);
    assert!(matches!(Writing::begin(&target, manifest()), Err(BackupError::Exists(_))));
}

#[test]
fn each_flipped_byte_and_each_cut_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    write(&target);
    let path = target.join("log-0001.records");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        fs::write(&path, &bad).unwrap();
        let told = Backup::open(&target).unwrap().verify(&mut |_| {});
        assert!(matches!(told, Err(BackupError::Damaged { .. })), "byte {at}");
    }
    for bad in [&good[..good.len() - 1], &good[..8], &[], &[&good[..], b"x"].concat()] {
        fs::write(&path, bad).unwrap();
        let told = Backup::open(&target).unwrap().verify(&mut |_| {});
        assert!(matches!(told, Err(BackupError::Damaged { .. })), "{} bytes", bad.len());
    }
    fs::remove_file(&path).unwrap();
    let told = Backup::open(&target).unwrap().verify(&mut |_| {});
    assert!(matches!(told, Err(BackupError::Io { .. })));
}

#[test]
fn a_manifest_that_names_files_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    write(&target);
    let path = target.join(MANIFEST);
    let good = fs::read_to_string(&path).unwrap();
    for bad in
        [good.replace("log-0001", "../log-0001"), good.replace("\"format\": 1", "\"format\": 2")]
    {
        assert_ne!(bad, good);
        fs::write(&path, bad).unwrap();
        assert!(matches!(Backup::open(&target), Err(BackupError::Damaged { .. })));
    }
}
