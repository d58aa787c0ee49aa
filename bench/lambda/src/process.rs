//! Processes with a share of one core, and their resource use.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

/// Lambda's scheduling period, and the quota of a function of 128 MB in it: 1,769 MB have a whole
/// core.
const PERIOD_US: u32 = 20_000;
const QUOTA_US: u32 = PERIOD_US * 128 / 1769;

/// A process's CPU clock in nanoseconds, with all its threads, including ended ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu(ClockId);

impl Cpu {
    /// The time used.
    pub(crate) fn used(self) -> Result<Duration> {
        Ok(self.0.now()?.into())
    }
}

/// A measured process, killed on drop.
pub(crate) struct Process {
    child: Child,
    clock: Cpu,
    /// The time just before its start.
    pub(crate) started: Instant,
}

impl Process {
    /// Its CPU clock.
    pub(crate) fn cpu_clock(&self) -> Cpu {
        self.clock
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The peak resident memory in KiB. The kernel's figure for the program itself: that of `wait`
    /// includes memory from before the program was loaded.
    pub(crate) fn peak_memory_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Kills it.
    pub(crate) fn end(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts processes on one core. Children inherit this thread's core and share.
pub(crate) struct Starter {
    requests: mpsc::Sender<(Command, mpsc::Sender<Result<Process>>)>,
}

impl Starter {
    /// A starter for `core`, within `share` if there is one.
    pub(crate) fn new(core: usize, share: Option<&Share>) -> Result<Self> {
        let (requests, received) = mpsc::channel::<(Command, mpsc::Sender<Result<Process>>)>();
        let tasks = share.map(|share| share.folder.join("tasks"));
        let (ready, is_ready) = mpsc::channel();
        thread::spawn(move || {
            let bound = pin(core).and_then(|()| match tasks {
                // 0 means the writer: this thread alone.
                Some(tasks) => fs::write(&tasks, "0").with_context(|| tasks.display().to_string()),
                None => Ok(()),
            });
            let _ = ready.send(bound);
            for (command, reply) in received {
                let _ = reply.send(start(command));
            }
        });
        is_ready.recv()??;
        Ok(Self { requests })
    }

    /// Starts a process, without yielding to other tasks.
    pub(crate) fn start(&self, command: Command) -> Result<Process> {
        let (reply, replied) = mpsc::channel();
        self.requests.send((command, reply)).map_err(|_| anyhow!("the starter has ended"))?;
        replied.recv()?
    }
}

fn start(mut command: Command) -> Result<Process> {
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("{}", command.get_program().display()))?;
    let pid = Pid::from_raw(child.id().try_into()?);
    Ok(Process { child, clock: Cpu(clock_getcpuclockid(pid)?), started })
}

/// Binds this thread to a core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}

/// A control group with a function's share of a core. It is removed on drop.
pub(crate) struct Share {
    folder: PathBuf,
}

impl Share {
    /// The share of a function of 128 MB. Needs the `cpu` controller of control groups version 1,
    /// and root.
    pub(crate) fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (folder, kind, options) = (words.next()?, words.next()?, words.next()?);
            (kind == "cgroup" && options.split(',').any(|option| option == "cpu")).then_some(folder)
        });
        let root = root.context("no cpu controller of control groups version 1 is mounted")?;
        // An interrupted run may have left one; it can be reused.
        let folder = Path::new(root).join("onerun-bench");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let share = Self { folder };
        share.set("cpu.cfs_period_us", PERIOD_US)?;
        share.set("cpu.cfs_quota_us", QUOTA_US)?;
        Ok(share)
    }

    fn set(&self, name: &str, value: u32) -> Result<()> {
        fs::write(self.folder.join(name), value.to_string()).with_context(|| name.to_owned())
    }

    /// Moves a running process into it.
    pub(crate) fn take(&self, process: &Process) -> Result<()> {
        Ok(fs::write(self.folder.join("cgroup.procs"), process.pid().to_string())?)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Moves processes back, because a group with processes cannot be removed.
        if let (Ok(tasks), Some(parent)) =
            (fs::read_to_string(self.folder.join("tasks")), self.folder.parent())
        {
            for task in tasks.lines() {
                let _ = fs::write(parent.join("tasks"), task);
            }
        }
        let _ = fs::remove_dir(&self.folder);
    }
}
