//! `cargo xtask fuzz`: runs the targets in `fuzz/` with cargo-fuzz (libFuzzer), and prints a table.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use trunkline_testbed::{Console, LineSink, Process, ProcessEnd, StopSignal, cargo, project_root};

use crate::{
    error::{Result, XtaskError},
    test::{CommandRunner, OutputFormat, version_of},
};

/// Maximum time for one input, in seconds. The slowest seed takes a few milliseconds.
const MAX_INPUT_SECONDS: u64 = 10;

#[derive(Debug, Args)]
pub(crate) struct FuzzArguments {
    /// Time for which each target runs, after the build.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Run only these targets. The others are not built.
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    only: Vec<String>,
}

pub(crate) fn run(arguments: &FuzzArguments, console: &Console) -> Result<ExitCode> {
    if version_of("cargo-fuzz", &["--version"]).is_none() {
        return Err(XtaskError::NoCargoFuzz);
    }
    let folder = project_root().join("fuzz");
    let known = target_names(&folder);
    if let Some(name) = arguments.only.iter().find(|name| !known.contains(name)) {
        return Err(XtaskError::UnknownFuzzTarget { name: name.clone(), known: known.join(", ") });
    }
    let targets = if arguments.only.is_empty() { &known } else { &arguments.only };
    let stop = StopSignal::install(|| ())?;
    for target in targets {
        let mut build = cargo_fuzz("build");
        build.arg(target);
        if (CommandRunner { console, stop: &stop }).run(build, OutputFormat::None)?.failed > 0 {
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut lines = vec![format!("{:<18}{:>14}{:>14}  result", "target", "executions", "new coverage")];
    let mut failed = false;
    for target in targets {
        console.headline(&format!("--- {target}"));
        let (report, end) = fuzz(&folder, target, arguments.time, console, &stop)?;
        let result = if end == ProcessEnd::Code(0) {
            "ok".to_owned()
        } else {
            failed = true;
            report.failure(target, end)
        };
        lines.push(format!("{target:<18}{:>14}{:>14}  {result}", report.executions, report.new_coverage()));
    }
    console.say("");
    lines.iter().for_each(|line| console.say(line));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What libFuzzer prints about one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FuzzReport {
    executions: u64,
    /// Covered branches after the inputs that were known before, and at the end.
    coverage: Option<(u64, u64)>,
    /// File with the input that failed.
    failing_input: Option<PathBuf>,
}

impl FuzzReport {
    /// Reads one line of the output. The format is that of LLVM's `FuzzerLoop.cpp`.
    fn read(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or(0);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.failing_input = Some(path.trim().into());
        } else if let Some((_, rest)) = line.split_once(" cov: ")
            && line.starts_with('#')
            && let Some(now) = rest.split(' ').next().and_then(|count| count.parse().ok())
        {
            let known = line.contains("INITED");
            self.coverage = Some((self.coverage.filter(|_| !known).map_or(now, |(first, _)| first), now));
        }
    }

    fn new_coverage(&self) -> u64 {
        self.coverage.map_or(0, |(first, last)| last.saturating_sub(first))
    }

    fn failure(&self, target: &str, end: ProcessEnd) -> String {
        match &self.failing_input {
            Some(input) => {
                let input = input.display();
                format!(
                    "FAILED on {input}\n  reproduce: RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {target} {input}"
                )
            }
            None => format!("FAILED ({end})"),
        }
    }
}

fn fuzz(
    folder: &Path,
    target: &str,
    time: Duration,
    console: &Console,
    stop: &StopSignal,
) -> Result<(FuzzReport, ProcessEnd)> {
    let mut command = cargo_fuzz("run");
    // libFuzzer writes to the first folder and reads both; cargo-fuzz creates only the default one.
    let [corpus, seeds] = ["corpus", "seeds"].map(|kind| folder.join(kind).join(target));
    fs::create_dir_all(&corpus).map_err(|source| trunkline_testbed::TestbedError::Io {
        doing: "cannot create the folder for found inputs",
        source,
    })?;
    command.arg(target).args([&corpus, &seeds]).arg("--");
    command.args([
        format!("-max_total_time={}", time.as_secs().max(1)),
        format!("-timeout={MAX_INPUT_SECONDS}"),
        "-print_final_stats=1".to_owned(),
    ]);
    let report = Arc::new(Mutex::new(FuzzReport::default()));
    let sink: LineSink = {
        let (console, report) = (console.clone(), Arc::clone(&report));
        Arc::new(move |line| {
            // One line per new input would hide the rest.
            if !["\tNEW ", "\tREDUCE "].iter().any(|kind| line.text.contains(kind)) {
                console.raw(line.text);
            }
            report.lock().unwrap_or_else(PoisonError::into_inner).read(line.text);
        })
    };
    let mut process = Process::spawn(target, command, Some(sink))?;
    let end = loop {
        if let Some(end) = process.ended() {
            break end;
        }
        stop.check()?;
        std::thread::sleep(Duration::from_millis(50));
    };
    process.finish_reading();
    let report = report.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((report, end))
}

/// `cargo fuzz <action> --sanitizer none`. cargo-fuzz passes unstable flags to rustc, which the stable compiler accepts
/// with `RUSTC_BOOTSTRAP`. Without AddressSanitizer, because the project contains no `unsafe` code and runs about twice
/// as fast without it.
fn cargo_fuzz(action: &str) -> Command {
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", action, "--sanitizer", "none"]);
    command
}

/// The names of the targets, sorted.
fn target_names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder.join("fuzz_targets")).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .filter_map(|file| file.file_name().to_str().and_then(|name| name.strip_suffix(".rs")).map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(output: &str) -> FuzzReport {
        let mut report = FuzzReport::default();
        output.lines().for_each(|line| report.read(line));
        report
    }

    #[test]
    fn output_of_a_run_is_read() {
        let report = report(
            "INFO: seed corpus: files: 20 min: 1b max: 225b total: 900b rss: 40Mb\n\
             #21\tINITED cov: 310 ft: 500 corp: 18/700b exec/s: 0 rss: 40Mb\n\
             #1024\tNEW    cov: 315 ft: 510 corp: 19/720b lim: 225 exec/s: 0 rss: 41Mb L: 9/225 MS: 1 EraseBytes-\n\
             #90000\tDONE   cov: 322 ft: 700 corp: 40/2000b lim: 600 exec/s: 30000 rss: 50Mb\n\
             stat::number_of_executed_units: 90000\n",
        );
        assert_eq!((report.executions, report.new_coverage(), report.failing_input), (90_000, 12, None));
    }

    #[test]
    fn failing_input_is_reported_with_the_command_that_repeats_it() {
        let report = report("artifact_prefix='x/'; Test unit written to x/crash-0a\n");
        let failure = report.failure("event", ProcessEnd::Code(77));
        assert!(failure.starts_with("FAILED on x/crash-0a"), "{failure}");
        assert!(failure.ends_with("cargo fuzz run --sanitizer none event x/crash-0a"), "{failure}");
    }

    #[test]
    fn every_target_has_a_manifest_entry_and_seeds() {
        let folder = project_root().join("fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let names = target_names(&folder);
        assert_eq!(manifest.matches("[[bin]]").count(), names.len());
        for name in names {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
            assert!(fs::read_dir(folder.join("seeds").join(&name)).unwrap().next().is_some(), "{name}");
        }
    }
}
