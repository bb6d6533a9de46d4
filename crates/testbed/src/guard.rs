//! Ends our children when we are killed and no destructor runs (a test runner's timeout, `kill -9`).
//!
//! A shell reads which processes live from a pipe whose other end only we hold. The pipe ends with us, however we end,
//! and the shell then kills what is left. It is one process for all children, and costs nothing while we live.

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

/// From now on the process group `pid` dies with us.
pub(crate) fn watch(pid: u32) {
    tell('+', pid);
}

/// The process group has been ended and reaped: its number may come to mean somebody else.
pub(crate) fn forget(pid: u32) {
    tell('-', pid);
}

fn tell(change: char, pid: u32) {
    static PIPE: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    if let Some(pipe) = PIPE.get_or_init(start) {
        let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a guard (it was killed) everything still ends on drop.
        let _ = writeln!(pipe, "{change} {pid}");
    }
}

fn start() -> Option<Mutex<ChildStdin>> {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Its own group: Ctrl-C is for us to handle.
    shell.process_group(0).spawn().ok()?.stdin.take().map(Mutex::new)
}
