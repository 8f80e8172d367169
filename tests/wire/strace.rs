//! What the hub asks of the disk before it confirms, as the kernel saw it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{
    http::Webhook,
    hub::{Hub, Settings},
};

/// One line of the trace: a call that was whole, began or ended there.
struct Call<'a> {
    thread: &'a str,
    name: &'a str,
    /// What is between the parentheses, as far as the line has it.
    arguments: &'a str,
    begins: bool,
    ends: bool,
}

/// Reads `PID name(arguments) = result`, `PID name(arguments <unfinished ...>` and `PID <... name resumed>rest`.
fn parse(line: &str) -> Option<Call<'_>> {
    let (thread, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    if let Some(resumed) = rest.strip_prefix("<... ") {
        let (name, arguments) = resumed.split_once(" resumed>")?;
        return Some(Call { thread, name, arguments, begins: false, ends: true });
    }
    let (name, arguments) = rest.split_once('(')?;
    let ends = !arguments.ends_with("<unfinished ...>");
    Some(Call { thread, name, arguments, begins: true, ends })
}

/// Returns the path of a call's first argument, as `-y` shows it: `5</folder/file>`.
fn path(arguments: &str) -> Option<&str> {
    let (fd, rest) = arguments.split_once('<')?;
    fd.parse::<u32>().ok()?;
    Some(rest.split_once('>')?.0)
}

/// What the trace says, read from its beginning to its end.
#[derive(Default)]
struct Trace {
    /// By file, the numbers of the lines at which a write to it began, that no sync has covered.
    unsynced: BTreeMap<String, BTreeSet<usize>>,
    /// By thread: the sync that it has begun.
    syncing: BTreeMap<String, (String, usize)>,
    /// By file, the number of the line at which its last sync ended.
    sync_ended: BTreeMap<String, usize>,
    /// What was written since the last confirmation, and what of that a sync has covered that began after the write.
    written: BTreeSet<String>,
    synced: BTreeSet<String>,
    confirmed: usize,
    /// How many confirmations came with a write that had begun beside the last sync.
    beside: usize,
}

impl Trace {
    fn read(&mut self, number: usize, line: &str, data: &str) {
        let Some(call) = parse(line) else { return };
        let of_store = path(call.arguments).filter(|path| path.starts_with(data));
        match call.name {
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "ftruncate"
                if call.begins =>
            {
                if let Some(file) = of_store {
                    self.unsynced.entry(file.to_owned()).or_default().insert(number);
                    self.written.insert(file.to_owned());
                } else if call.arguments.contains("HTTP/1.1 200") {
                    self.confirm(line);
                }
            }
            "sendto" | "sendmsg" if call.arguments.contains("HTTP/1.1 200") => self.confirm(line),
            "fsync" | "fdatasync" => {
                if let (true, Some(file)) = (call.begins, of_store) {
                    self.syncing.insert(call.thread.to_owned(), (file.to_owned(), number));
                }
                if call.ends
                    && let Some((file, began)) = self.syncing.remove(call.thread)
                {
                    let writes = self.unsynced.entry(file.clone()).or_default();
                    let later = writes.split_off(&began);
                    self.sync_ended.insert(file.clone(), number);
                    if !std::mem::replace(writes, later).is_empty() {
                        self.synced.insert(file);
                    }
                }
            }
            _ => {}
        }
    }

    /// A file may have been written again after the sync that this answer waited for: where a commit has filled a segment,
    /// sled pads what is left of it, later and on a thread of its own. The next sync covers that. And 20 times a second it
    /// moves what is left in a segment: such a write may begin beside a sync. What a commit writes begins before its sync.
    fn confirm(&mut self, line: &str) {
        let is_beside = |(file, writes): (&String, &BTreeSet<usize>)| {
            let ended = self.sync_ended.get(file).copied().unwrap_or(usize::MAX);
            writes.range(..ended).next().is_some()
        };
        self.beside += usize::from(self.unsynced.iter().any(is_beside));
        assert!(!self.written.is_empty(), "nothing was written before `{line}`");
        assert!(self.written.is_subset(&self.synced), "{:?} of {:?}", self.synced, self.written);
        self.written.clear();
        self.synced.clear();
        self.confirmed += 1;
    }
}

/// Posts one by one, so that what is written before an answer is what it confirms.
async fn posts(hub: &Hub) -> usize {
    let mut http = hub.http().await;
    let mut count = 0;
    for size in [10, 10, 1_000, 10_000, 60_000, 70_000, 200_000, 1_000_000, 5_000_000, 10, 10_000] {
        for copy in 0..3 {
            let body = format!(r#"{{"text": "{}"}}"#, text(size));
            let key = format!("{size}-{copy}-{count}");
            let answer = http.post(&Webhook::github("push", &key, body)).await.unwrap();
            assert_eq!(answer.status, 200);
            count += 1;
        }
    }
    count
}

/// Text that compresses badly, as hashes and keys do.
pub(crate) fn text(size: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap())
    };
    (0..size).map(letter).collect()
}

fn read(trace: &Path, data: &Path) -> Trace {
    let text = fs::read_to_string(trace).unwrap();
    let data = data.to_str().unwrap();
    let mut read = Trace::default();
    for (number, line) in text.lines().enumerate() {
        read.read(number, line, data);
    }
    read
}

#[tokio::test]
#[ignore = "needs strace"]
async fn i3_every_file_of_the_store_is_synced_before_the_200_that_confirms_it() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    // `-D` leaves the hub our own child; `-y` shows the paths of files.
    let calls =
        "trace=write,writev,pwrite64,pwritev,pwritev2,ftruncate,fsync,fdatasync,sendto,sendmsg";
    let wrapper = ["strace", "-D", "-f", "-y", "-s", "32", "-e", calls, "-o"].map(str::to_owned);
    let wrapper = wrapper.into_iter().chain([trace.to_str().unwrap().to_owned()]).collect();
    let mut hub = Hub::start_with(Settings { wrapper, ..Settings::default() }).await;
    let posted = posts(&hub).await;
    hub.terminate();
    assert_eq!(hub.exited().await.code(), Some(0));
    let data = hub.folder().join("data");
    let read = read(&trace, &data);
    assert_eq!(read.confirmed, posted, "each answer is in the trace");
    // A commit that did not wait for its own writes would have them beside its sync nearly each time.
    assert!(read.beside <= posted / 8, "{} of {posted} answers", read.beside);
    let blobs: Vec<_> = walk(&data).into_iter().filter(|path| path.contains("/blobs/")).collect();
    assert_eq!(blobs, [""; 0], "a value became a file of its own");
}

/// Returns the paths of all files below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path().to_str().unwrap().to_owned());
        }
    }
    files
}
