//! Finds the programs that tests and development commands start.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{NoProgress, Progress, Result, TestbedError, apt};

/// The root folder of the workspace that this crate was built in.
pub fn project_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).to_owned()
}

/// A server program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// `redis-server`, or `valkey-server`.
    Redis,
    /// `valkey-server`, to test with Valkey where Redis is installed as well.
    Valkey,
    /// `haproxy`.
    HaProxy,
    /// `nginx`.
    Nginx,
}

impl Tool {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
            Self::HaProxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// Names of its executable, in order of preference.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &["redis-server", "valkey-server"],
            Self::Valkey => &["valkey-server"],
            Self::HaProxy => &["haproxy"],
            Self::Nginx => &["nginx"],
        }
    }

    /// Its Debian packages. Their dependencies name the libraries.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &["redis-server", "redis-tools"],
            // Since Debian 13.
            Self::Valkey => &["valkey-server", "valkey-tools"],
            Self::HaProxy => &["haproxy"],
            Self::Nginx => &["nginx"],
        }
    }

    /// Its folder in `target/tools`.
    fn folder(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    fn version_flag(self) -> &'static str {
        match self {
            Self::Redis | Self::Valkey => "--version",
            Self::HaProxy | Self::Nginx => "-v",
        }
    }

    /// A [`TestbedError::NotFound`] with the commands that install the program.
    pub(crate) fn not_found(self, tried: String) -> TestbedError {
        let (apt, other) = match self {
            Self::Redis => ("redis-server", "redis"),
            Self::Valkey => ("valkey-server", "valkey"),
            Self::HaProxy => ("haproxy", "haproxy"),
            Self::Nginx => ("nginx", "nginx"),
        };
        let mut install = format!("  sudo apt install {apt}\n  sudo dnf install {other}\n  brew install {other}");
        if cfg!(not(feature = "testcontainers")) && !matches!(self, Self::Nginx | Self::Valkey) {
            install += "\nor run it in Docker: `cargo xtask-docker` instead of `cargo xtask`, and in tests the feature \
                        `trunkline-testbed/testcontainers`";
        }
        TestbedError::NotFound { what: self.name(), tried, install }
    }
}

/// A program that was found and that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    /// Folders of its unpacked libraries, or `None` if the system has them.
    library_path: Option<OsString>,
}

impl Program {
    /// A program from Debian packages, unpacked once to `folder` and independent of `PATH`: for a program that needs modules
    /// of the same build. `path` is its path in the packages, as in "usr/sbin/nginx".
    ///
    /// # Errors
    /// Returns [`TestbedError::NotFound`] on systems without apt, and otherwise the error of the failed download.
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
            return Err(TestbedError::NotFound { what, tried: String::new(), install });
        }
        if !program() {
            apt::unpack(&project_root().join("target/tools"), folder, packages, progress, program)?;
        }
        Ok(Self { path: folder.join(path), library_path: Some(library_path(folder)) })
    }

    /// Path of the executable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs the program.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(folders) = &self.library_path {
            command.env("LD_LIBRARY_PATH", folders);
        }
        command
    }

    /// Another program in the same folder, with the same libraries, or `None` if there is none.
    pub(crate) fn with_name(&self, name: &str) -> Option<Self> {
        let path = self.path.with_file_name(name);
        path.is_file().then(|| Self { path, library_path: self.library_path.clone() })
    }

    fn runs(&self, tool: Tool) -> bool {
        let mut command = self.command();
        command.arg(tool.version_flag()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// Where programs are searched: `PATH`, then a folder that is filled from Debian packages if necessary.
#[derive(Debug, Clone)]
pub struct Toolbox {
    folder: PathBuf,
    search_path: OsString,
    /// Whether all searches fail.
    empty: bool,
}

impl Toolbox {
    /// The default toolbox: `PATH` and `target/tools`.
    pub fn project() -> Self {
        Self::new(project_root().join("target/tools"), env::var_os("PATH").unwrap_or_default())
    }

    /// A toolbox with another folder and another `PATH`.
    pub fn new(folder: impl Into<PathBuf>, search_path: impl Into<OsString>) -> Self {
        Self { folder: folder.into(), search_path: search_path.into(), empty: false }
    }

    /// A toolbox that finds and unpacks nothing, as on a machine without the programs. With the feature `testcontainers`,
    /// servers then start in Docker.
    pub fn none() -> Self {
        Self { folder: PathBuf::new(), search_path: OsString::new(), empty: true }
    }

    /// Finds the program, or unpacks it. Several processes may call this at the same time.
    ///
    /// # Errors
    /// Returns [`TestbedError::NotFound`] with the commands that install the program, and [`TestbedError::Cancelled`] if
    /// `progress` asks to stop.
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
                let tried = || format!("The Debian packages were unpacked to {} and do not run.\n", folder.display());
                self.unpacked(tool).ok_or_else(|| tool.not_found(tried()))
            }
            Err(TestbedError::Cancelled) => Err(TestbedError::Cancelled),
            Err(e) => Err(tool.not_found(format!("The Debian packages could not be unpacked: {e}\n"))),
        }
    }

    /// The program on `PATH`, if it runs.
    fn installed(&self, tool: Tool) -> Option<Program> {
        let found = tool.programs().iter().find_map(|name| find_on(&self.search_path, name));
        found.map(|path| Program { path, library_path: None }).filter(|program| program.runs(tool))
    }

    /// The program in the toolbox folder, if it runs. The folder may come from another system.
    fn unpacked(&self, tool: Tool) -> Option<Program> {
        let root = self.folder.join(tool.folder());
        let places = ["usr/bin", "usr/sbin"];
        let candidates = tool.programs().iter().flat_map(|name| places.map(|place| root.join(place).join(name)));
        let path = candidates.into_iter().find(|path| path.is_file())?;
        let program = Program { path, library_path: Some(library_path(&root)) };
        program.runs(tool).then_some(program)
    }
}

/// Path of libfaketime, which shows another wall clock to a process that preloads it: from the system, or unpacked from
/// the Debian package.
///
/// # Errors
/// Returns [`TestbedError::NotFound`] with the commands that install it.
pub fn fake_time() -> Result<PathBuf> {
    const LIBRARY: &str = "faketime/libfaketime.so.1";
    let tools = project_root().join("target/tools");
    let target = tools.join("faketime");
    let find = |root: &Path| {
        env::split_paths(&library_path(root)).map(|folder| folder.join(LIBRARY)).find(|library| library.is_file())
    };
    let known = || find(Path::new("/")).or_else(|| find(&target));
    let not_found = |tried: String| TestbedError::NotFound {
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
    apt::unpack(&tools, &target, &["libfaketime"], &NoProgress, || known().is_some())
        .map_err(|e| not_found(format!("The Debian package could not be unpacked: {e}\n")))?;
    known().ok_or_else(|| not_found("The Debian package does not contain the library.\n".to_owned()))
}

/// The first executable with this name in the folders of a search path.
pub(crate) fn find_on(search_path: &OsStr, name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let executable =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    env::split_paths(search_path).map(|folder| folder.join(name)).find(executable)
}

/// The library folders of a package tree, such as `usr/lib/x86_64-linux-gnu`.
fn library_path(root: &Path) -> OsString {
    let children = |folder: &str| fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let folders = children("usr/lib").chain(children("lib")).map(|entry| entry.path()).filter(|path| path.is_dir());
    env::join_paths(folders).unwrap_or_default()
}
