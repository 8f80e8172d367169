//! The load on HTTP servers: `wrk`, a closed loop over so many connections, with every body in turn.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Outcome, bodies::Bodies, tools::Tools};

pub(crate) struct Load {
    program: PathBuf,
    script: PathBuf,
    connections: usize,
}

impl Load {
    /// Writes the script for `wrk`, which holds all requests but for their delivery ids.
    pub(crate) fn prepare(
        tools: &Tools,
        folder: &Path,
        bodies: &Bodies,
        connections: usize,
    ) -> Outcome<Self> {
        let mut lua = String::from("local heads, tails = {}, {}\n");
        for (index, one) in bodies.all().iter().enumerate() {
            let tail = [b"\r\n\r\n", one.body.as_ref()].concat();
            writeln!(lua, "heads[{}] = {}", index + 1, quote(&one.head)?)?;
            writeln!(lua, "tails[{}] = {}", index + 1, quote(&tail)?)?;
        }
        lua.push_str(REQUESTS);
        let script = folder.join("load.lua");
        fs::write(&script, lua)?;
        Ok(Self { program: tools.wrk()?, script, connections })
    }

    /// Returns how many requests a second were answered 200; anything else is an error.
    pub(crate) fn run(&self, url: &str, seconds: u64) -> Outcome<f64> {
        let output = Command::new(&self.program)
            .args(["-t1", &format!("-c{}", self.connections), &format!("-d{seconds}s")])
            .args(["--timeout", "10s", "-s"])
            .arg(&self.script)
            .arg(url)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let bad = |line: &&str| line.contains("Non-2xx") || line.contains("Socket errors");
        if let Some(line) = text.lines().find(bad) {
            return Err(format!("not every request was answered 200: {}", line.trim()).into());
        }
        let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        Ok(rate.ok_or_else(|| format!("wrk said: {text}"))?.trim().parse()?)
    }
}

/// A delivery id never repeats within a run: the time of its start, and a number.
const REQUESTS: &str = r#"
local start, n = os.time() .. "-" .. math.floor(os.clock() * 1e6), 0
request = function()
  n = n + 1
  local i = n % #heads + 1
  return heads[i] .. start .. "-" .. n .. tails[i]
end
"#;

/// Returns bytes as a Lua string.
fn quote(bytes: &[u8]) -> Outcome<String> {
    let mut quoted = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(*byte));
            }
            b' '..=b'~' => quoted.push(char::from(*byte)),
            _ => write!(quoted, "\\{byte:03}")?,
        }
    }
    quoted.push('"');
    Ok(quoted)
}
