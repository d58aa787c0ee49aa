//! A process with all processes that it starts.

use std::{io, process::ExitStatus};

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// A process in a group of its own. On drop, the whole group is killed.
pub(super) struct ProcessGroup {
    child: Child,
    /// The id of the process when it was started.
    id: Option<u32>,
}

impl ProcessGroup {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn()?;
        let id = child.id();
        Ok(Self { child, id })
    }

    pub(super) fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?, self.child.stderr.take()?))
    }

    /// Waits until the process exits. Processes that it started may continue.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

#[cfg(unix)]
impl Drop for ProcessGroup {
    fn drop(&mut self) {
        use nix::{
            sys::signal::{Signal, killpg},
            unistd::Pid,
        };
        // As long as the group has a process, no other process gets its id. An empty group is no error.
        if let Some(id) = self.id.and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
