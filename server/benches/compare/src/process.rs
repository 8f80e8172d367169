//! Servers as processes of their own, and what the system says about them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Outcome;

/// How long a server may take until it answers.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// A process that is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program that is ready once this port of loopback takes connections.
    pub(crate) fn with_port(command: &mut Command, port: u16) -> Outcome<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Self { child: command.spawn()? };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("{command:?} ended at once: {status}").into());
            }
            if START_TIME_MAX < began.elapsed() {
                return Err(format!("{command:?} does not answer on port {port}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// Starts a program that says `ready ...` on its standard output; returns that line too.
    pub(crate) fn with_line(command: &mut Command) -> Outcome<(Self, String)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let process = Self { child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if !line.starts_with("ready ") {
            return Err(format!("{command:?} said `{}`", line.trim()).into());
        }
        Ok((process, line))
    }

    /// Returns how much time of a processor it has taken, all threads together.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        cpu_of(&self.child.id().to_string())
    }

    /// Returns the most memory that it ever had resident, in MiB.
    pub(crate) fn peak_mib(&self) -> Outcome<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u32 =
            kib.ok_or("the system does not say")?.trim().trim_end_matches(" kB").parse()?;
        Ok(f64::from(kib) / 1_024.0)
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> Outcome {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns how much time of a processor a process has taken.
fn cpu_of(process: &str) -> Outcome<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name before may hold spaces, and ends with the last `)`.
    let fields = text.rsplit(')').next().unwrap_or_default();
    Ok(ticks(fields, 11)? + ticks(fields, 12)?)
}

/// What all processors have done so far, and what of it was for this program and the servers that it has ended.
pub(crate) struct Busy {
    all: Duration,
    own: Duration,
    since: Instant,
}

impl Busy {
    pub(crate) fn now() -> Outcome<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        // User, nice, system; then idle and waiting; then interrupts and what the host took away.
        let all = [1, 2, 3, 6, 7, 8].into_iter().map(|at| ticks(line, at)).sum::<Outcome<_>>()?;
        let text = fs::read_to_string("/proc/self/stat")?;
        let fields = text.rsplit(')').next().unwrap_or_default();
        let own = (11..=14).map(|at| ticks(fields, at)).sum::<Outcome<_>>()?;
        Ok(Self { all, own, since: Instant::now() })
    }

    /// Returns how many percent of all processors others have taken since.
    pub(crate) fn others_percent(&self) -> Outcome<f64> {
        let now = Self::now()?;
        let others = (now.all - self.all).saturating_sub(now.own - self.own);
        let processors = u32::try_from(thread::available_parallelism()?.get())?;
        let all = (now.since - self.since) * processors;
        Ok(100.0 * others.as_secs_f64() / all.as_secs_f64())
    }
}

fn ticks(fields: &str, at: usize) -> Outcome<Duration> {
    let ticks: u64 = fields.split_whitespace().nth(at).ok_or("a short line")?.parse()?;
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// Returns a port that was free a moment ago: for programs that can't say which one they chose.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
