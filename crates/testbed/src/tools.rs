//! Finds the programs that tests and `cargo xtask` start.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Error, Progress, Result, Silent, apt};

/// The root of the workspace that this crate was built in.
pub fn project_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).to_owned()
}

/// A program that can be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// `redis-server`, or `valkey-server`.
    Redis,
    /// `haproxy`.
    HaProxy,
    /// `nginx`.
    Nginx,
}

impl Tool {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::HaProxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// The names it goes by, best first.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &["redis-server", "valkey-server"],
            Self::HaProxy => &["haproxy"],
            Self::Nginx => &["nginx"],
        }
    }

    /// Debian's packages of it; their libraries are found through their dependencies.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &["redis-server", "redis-tools"],
            Self::HaProxy => &["haproxy"],
            Self::Nginx => &["nginx"],
        }
    }

    /// Its folder under `target/tools`.
    fn folder(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    fn version_flag(self) -> &'static str {
        match self {
            Self::Redis => "--version",
            Self::HaProxy | Self::Nginx => "-v",
        }
    }

    /// An [`Error::NotFound`] that says how to install it.
    pub(crate) fn not_found(self, tried: String) -> Error {
        let (apt, other) = match self {
            Self::Redis => ("redis-server", "redis"),
            Self::HaProxy => ("haproxy", "haproxy"),
            Self::Nginx => ("nginx", "nginx"),
        };
        let mut install = format!("  sudo apt install {apt}\n  sudo dnf install {other}\n  brew install {other}");
        if cfg!(not(feature = "testcontainers")) && self != Self::Nginx {
            install += "\nor run it in Docker: `cargo xtask-docker` instead of `cargo xtask`, and in tests the feature \
                        `trunkline-testbed/testcontainers`";
        }
        Error::NotFound { what: self.name(), tried, install }
    }
}

/// A program that was found and runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    /// Where its libraries were unpacked; nothing when the system has them.
    library_path: Option<OsString>,
}

impl Program {
    /// A program of Debian's packages, unpacked once to `folder` whatever is on `PATH`: for one that needs modules of its
    /// own build. `path` is where it is in them, as "usr/sbin/nginx".
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no apt; whatever kept apt from downloading.
    pub fn of_packages(
        what: &'static str,
        packages: &[&str],
        folder: &Path,
        path: &str,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let program = || folder.join(path).is_file();
        if !program() && !apt::is_available() {
            let install = format!("  sudo apt install {}", packages.join(" "));
            return Err(Error::NotFound { what, tried: String::new(), install });
        }
        if !program() {
            apt::unpack(&project_root().join("target/tools"), folder, packages, progress, program)?;
        }
        Ok(Self { path: folder.join(path), library_path: Some(library_path(folder)) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(folders) = &self.library_path {
            command.env("LD_LIBRARY_PATH", folders);
        }
        command
    }

    fn runs(&self, tool: Tool) -> bool {
        let mut command = self.command();
        command.arg(tool.version_flag()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// Where programs are looked for: `PATH`, then a folder of our own, which is filled where nothing else helps.
#[derive(Debug, Clone)]
pub struct Toolbox {
    folder: PathBuf,
    search_path: OsString,
    /// Whether nothing is to be found in it.
    empty: bool,
}

impl Toolbox {
    /// The one that everybody uses: `PATH` and `target/tools`.
    pub fn project() -> Self {
        Self::new(project_root().join("target/tools"), env::var_os("PATH").unwrap_or_default())
    }

    /// Another folder, another `PATH`.
    pub fn new(folder: impl Into<PathBuf>, search_path: impl Into<OsString>) -> Self {
        Self { folder: folder.into(), search_path: search_path.into(), empty: false }
    }

    /// Finds nothing and fetches nothing, as on a machine without any of the programs: leads to Docker, where the
    /// feature `testcontainers` is on.
    pub fn none() -> Self {
        Self { folder: PathBuf::new(), search_path: OsString::new(), empty: true }
    }

    /// Finds the program, or unpacks it. Safe to call from several processes at once.
    pub fn get(&self, tool: Tool, progress: &dyn Progress) -> Result<Program> {
        if self.empty {
            return Err(tool.not_found(String::new()));
        }
        if let Some(program) = self.installed(tool).or_else(|| self.unpacked(tool)) {
            return Ok(program);
        }
        if !apt::is_available() {
            return Err(tool.not_found(String::new()));
        }
        let folder = self.folder.join(tool.folder());
        match apt::unpack(&self.folder, &folder, tool.packages(), progress, || self.unpacked(tool).is_some()) {
            Ok(()) => {
                let tried = || format!("Debian's packages were unpacked to {} but do not run.\n", folder.display());
                self.unpacked(tool).ok_or_else(|| tool.not_found(tried()))
            }
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(e) => Err(tool.not_found(format!("Debian's packages could not be unpacked: {e}\n"))),
        }
    }

    /// The program on `PATH`.
    fn installed(&self, tool: Tool) -> Option<Program> {
        let found = tool.programs().iter().find_map(|name| find_on(&self.search_path, name));
        found.map(|path| Program { path, library_path: None }).filter(|program| program.runs(tool))
    }

    /// The program in our own folder, if it runs (the folder may come from another system).
    fn unpacked(&self, tool: Tool) -> Option<Program> {
        let root = self.folder.join(tool.folder());
        let places = ["usr/bin", "usr/sbin"];
        let candidates = tool.programs().iter().flat_map(|name| places.map(|place| root.join(place).join(name)));
        let path = candidates.into_iter().find(|path| path.is_file())?;
        let program = Program { path, library_path: Some(library_path(&root)) };
        program.runs(tool).then_some(program)
    }
}

/// The library that, preloaded, shows a process another wall clock (libfaketime): the system's, or one that is unpacked
/// from Debian's packages as [`Toolbox`] does with programs.
///
/// # Errors
/// [`Error::NotFound`], with what installs it.
pub fn fake_time() -> Result<PathBuf> {
    const LIBRARY: &str = "faketime/libfaketime.so.1";
    let tools = project_root().join("target/tools");
    let target = tools.join("faketime");
    let find = |root: &Path| {
        env::split_paths(&library_path(root)).map(|folder| folder.join(LIBRARY)).find(|library| library.is_file())
    };
    let known = || find(Path::new("/")).or_else(|| find(&target));
    let not_found = |tried: String| Error::NotFound {
        what: "libfaketime",
        tried,
        install: "  sudo apt install faketime\n  sudo dnf install libfaketime".to_owned(),
    };
    if let Some(library) = known() {
        return Ok(library);
    }
    if !apt::is_available() {
        return Err(not_found(String::new()));
    }
    apt::unpack(&tools, &target, &["libfaketime"], &Silent, || known().is_some())
        .map_err(|e| not_found(format!("Debian's package could not be unpacked: {e}\n")))?;
    known().ok_or_else(|| not_found("Debian's package holds no such library.\n".to_owned()))
}

/// The first executable of that name on a search path.
pub(crate) fn find_on(search_path: &OsStr, name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let executable =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    env::split_paths(search_path).map(|folder| folder.join(name)).find(executable)
}

/// The folders of a package tree that hold libraries: `usr/lib/x86_64-linux-gnu` and its like.
fn library_path(root: &Path) -> OsString {
    let children = |folder: &str| fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let folders = children("usr/lib").chain(children("lib")).map(|entry| entry.path()).filter(|path| path.is_dir());
    env::join_paths(folders).unwrap_or_default()
}
