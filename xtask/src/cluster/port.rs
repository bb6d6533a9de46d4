//! Checks whether a port is free, and finds the process that uses it.

use std::{fs, net::TcpListener};

use crate::error::{Result, XtaskError};

/// Returns an error that names the owner if the port is in use.
pub(crate) fn must_be_free(port: u16) -> Result<()> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(_) => Err(taken(port)),
    }
}

/// The error for a port in use.
pub(crate) fn taken(port: u16) -> XtaskError {
    XtaskError::PortTaken { port, owner: owner(port) }
}

/// Name and id of the process that listens on the port. Linux only, and only for processes that this user may inspect.
fn owner(port: u16) -> Option<String> {
    let socket = format!("socket:[{}]", listening_inode(port)?);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.map(|entry| entry.path()).find_map(|process| {
        // Not `/proc/self` and similar links.
        let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.join("fd")).ok()?.flatten();
        files.find(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*socket))?;
        let name = fs::read_to_string(process.join("comm")).ok()?;
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

fn listening_inode(port: u16) -> Option<String> {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| find_inode(&fs::read_to_string(table).ok()?, port))
}

/// The columns are: number, local address `hex:port`, remote address, state (0A is LISTEN), five others, inode.
fn find_inode(table: &str, port: u16) -> Option<String> {
    let local = format!(":{port:04X}");
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find_map(|row| {
        let listens = row.get(1)?.ends_with(&local) && *row.get(3)? == "0A";
        listens.then(|| row.get(9).map(|inode| (*inode).to_owned()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_this_process_as_the_owner_of_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = must_be_free(port).unwrap_err().to_string();
        assert!(error.contains("--port"), "{error}");
        if cfg!(target_os = "linux") {
            assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        }
        drop(listener);
        must_be_free(port).unwrap();
    }
}
