//! On what a run was made.

use std::{collections::BTreeMap, fs, path::Path, thread};

use crate::{
    Outcome,
    parts::Other,
    tools::{Tools, first_line, first_line_of},
};

/// Returns what machine this is; what the system does not say is left out.
pub(crate) fn machine(data: &Path) -> BTreeMap<String, String> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(':').nth(1)).map(|value| value.trim().to_owned())
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let data = data.to_string_lossy();
    let disk = first_line(Path::new("stat"), &["--file-system", "--format=%T", &data]);
    let facts = [
        ("processor", after(&read("/proc/cpuinfo"), "model name").unwrap_or_default()),
        ("processors", processors.to_string()),
        ("memory", after(&read("/proc/meminfo"), "MemTotal").unwrap_or_default()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("file system", disk),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Returns the version of each program that takes part.
pub(crate) fn programs(tools: &Tools, skip: &[Other]) -> Outcome<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    let mut add = |name: &str, version: String| versions.insert(name.to_owned(), version);
    add("hookline", first_line(&tools.hookline, &["--version"]));
    add("wrk", first_line(&tools.wrk()?, &["-v"]));
    add("rustc", first_line(Path::new("rustc"), &["--version"]));
    if !skip.contains(&Other::Nats) {
        add("nats", first_line(&tools.nats_server()?, &["--version"]));
    }
    if !skip.contains(&Other::Redis) {
        add("redis", first_line_of(tools.redis_command()?.arg("--version")));
    }
    if !skip.iter().any(|other| matches!(other, Other::Redis | Other::Fastapi)) {
        let said = "import fastapi, uvicorn, redis, sys; \
                    print(sys.version.split()[0], fastapi.__version__, uvicorn.__version__, redis.__version__)";
        add("python, fastapi, uvicorn, redis-py", first_line(&tools.python()?, &["-c", said]));
    }
    Ok(versions)
}
