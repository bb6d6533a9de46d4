//! Ends child processes when this process is killed and no destructor runs, as with `kill -9` or a test runner's timeout.
//!
//! A shell reads the list of running children from a pipe whose writing end only this process holds. When this process
//! ends, the pipe closes, and the shell kills the remaining children. One shell serves all children.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

const SCRIPT: &str = r#"
alive=
while read -r change pid; do
    case $change in
    +) alive="$alive $pid" ;;
    -) rest=; for p in $alive; do [ "$p" = "$pid" ] || rest="$rest $p"; done; alive=$rest ;;
    esac
done
for p in $alive; do kill -s KILL -- "-$p"; done
"#;

/// Adds the process group `pid` to the groups that end with this process.
pub(crate) fn watch(pid: u32) {
    send('+', pid);
}

/// Removes a process group that has ended. The kernel may reuse its number.
pub(crate) fn forget(pid: u32) {
    send('-', pid);
}

fn send(change: char, pid: u32) {
    static PIPE: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    if let Some(pipe) = PIPE.get_or_init(start) {
        let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
        // If the shell was killed, children still end on drop.
        let _ = writeln!(pipe, "{change} {pid}");
    }
}

fn start() -> Option<Mutex<ChildStdin>> {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // A separate process group, so that Ctrl-C does not end the shell first.
    shell.process_group(0).spawn().ok()?.stdin.take().map(Mutex::new)
}
