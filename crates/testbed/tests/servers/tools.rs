use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread};

use trunkline_testbed::{NoProgress, Progress, TestbedError, Tool, Toolbox};

/// Creates a program that exits with a status.
fn stand_in(folder: &Path, name: &str, status: i32) {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\nexit {status}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn programs_on_path_are_preferred_to_unpacked_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (tools, bin) = (folder.path().join("tools"), folder.path().join("bin"));
    stand_in(&tools.join("redis/usr/bin"), "redis-server", 0);
    let toolbox = Toolbox::new(&tools, &bin);
    let found = |toolbox: &Toolbox| toolbox.get(Tool::Redis, &NoProgress).unwrap().path().to_owned();
    assert_eq!(found(&toolbox), tools.join("redis/usr/bin/redis-server"));
    stand_in(&bin, "valkey-server", 0);
    assert_eq!(found(&toolbox), bin.join("valkey-server"));
    stand_in(&bin, "redis-server", 0);
    assert_eq!(found(&toolbox), bin.join("redis-server"));
    // A program that does not run is skipped.
    stand_in(&bin, "redis-server", 1);
    stand_in(&bin, "valkey-server", 1);
    assert_eq!(found(&toolbox), tools.join("redis/usr/bin/redis-server"));
}

#[test]
fn error_names_the_install_commands() {
    struct CancelledProgress;
    impl Progress for CancelledProgress {
        fn step(&self, _: &str) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let folder = tempfile::tempdir().unwrap();
    // A file at the folder's path prevents unpacking.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Toolbox::new(&file, "").get(Tool::HaProxy, &NoProgress).unwrap_err().to_string();
    for command in ["apt install haproxy", "dnf install haproxy", "brew install haproxy"] {
        assert!(error.contains(command), "{error}");
    }
    let error = Toolbox::none().get(Tool::Redis, &NoProgress).unwrap_err().to_string();
    for command in ["apt install redis-server", "dnf install redis", "brew install redis"] {
        assert!(error.contains(command), "{error}");
    }
    // Docker is suggested only if this build does not use it.
    assert_eq!(error.contains("cargo xtask-docker"), cfg!(not(feature = "testcontainers")), "{error}");
    let cancelled = Toolbox::new(folder.path(), "").get(Tool::HaProxy, &CancelledProgress);
    assert!(matches!(cancelled, Err(TestbedError::Cancelled | TestbedError::NotFound { .. })));
}

#[test]
fn several_processes_may_unpack_at_once() {
    if !Path::new("/usr/bin/apt-get").exists() {
        println!("skipped: packages are unpacked on Debian and Ubuntu only");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let get = |tool| Toolbox::new(folder.path(), "").get(tool, &|step: &str| println!("{step}")).unwrap();
    let programs = thread::scope(|scope| {
        let wanted = [Tool::Redis, Tool::HaProxy, Tool::Redis, Tool::HaProxy];
        wanted.map(|tool| scope.spawn(move || get(tool))).map(|thread| thread.join().unwrap())
    });
    assert_eq!(programs[0], programs[2]);
    assert_eq!(programs[1], programs[3]);
    assert!(programs[0].path().starts_with(folder.path()));
    let version = programs[1].command().arg("-v").output().unwrap();
    assert!(version.status.success());
    // No temporary files are left.
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["apt", "haproxy", "lock", "redis"]);
}
