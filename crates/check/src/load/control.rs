//! Control of a run from outside: marks in its history, and the command to stop.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
};

use super::recorder::Recorder;
use crate::{
    history::{HistoryLine, InjectedFault},
    output::print_json,
};

/// One line of standard input.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum ControlCommand {
    Mark(HistoryMark),
    Stop { stop: bool },
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "mark", rename_all = "snake_case")]
enum HistoryMark {
    Fault(InjectedFault<'static>),
    Healed,
    Phase { name: String },
}

/// Marks phases in the history of a run, and stops the run. Clones control the same run.
#[derive(Clone, Debug)]
pub struct RunControl {
    recorder: Recorder,
    stop: Arc<watch::Sender<bool>>,
}

impl RunControl {
    /// Creates the control of a run; the receiver becomes true when the run should stop.
    pub(crate) fn new(recorder: Recorder) -> (Self, watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        (Self { recorder, stop: Arc::new(stop) }, stopped)
    }

    /// Records that a phase begins. See [`HistoryLine::Phase`].
    pub fn begin_phase(&self, name: &str) {
        self.recorder.record(|t| Some(HistoryLine::Phase { t, name: name.into() }));
    }

    /// Ends the writing; the run settles and returns its verdict.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Executes commands until standard input ends. The run goes on after that.
pub(crate) async fn execute_commands(control: RunControl) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(ControlCommand::Mark(mark)) => {
                match mark {
                    HistoryMark::Fault(fault) => {
                        control.recorder.record(|t| Some(HistoryLine::Fault(InjectedFault { t, ..fault })));
                    }
                    HistoryMark::Healed => control.recorder.record(|t| Some(HistoryLine::Healed { t })),
                    HistoryMark::Phase { name } => control.begin_phase(&name),
                }
                // The program that injects the fault waits for this answer.
                print_json(&json!({"state": "marked", "t": control.recorder.now()}));
            }
            Ok(ControlCommand::Stop { stop }) => {
                control.stop.send_replace(stop);
            }
            Err(_) if line.trim().is_empty() => {}
            Err(error) => eprintln!("ignoring an invalid command on standard input: {line} ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ControlCommand {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn commands_are_parsed() {
        assert_eq!(parse(r#"{"stop":true}"#), ControlCommand::Stop { stop: true });
        assert_eq!(parse(r#"{"mark":"healed"}"#), ControlCommand::Mark(HistoryMark::Healed));
        let ControlCommand::Mark(HistoryMark::Fault(fault)) = parse(r#"{"mark":"fault","name":"gateway killed"}"#)
        else {
            panic!()
        };
        assert_eq!((&*fault.name, fault.redis, fault.visible, fault.closes), ("gateway killed", false, true, None));
        let ControlCommand::Mark(HistoryMark::Fault(fault)) =
            parse(r#"{"mark":"fault","name":"x","redis":true,"visible":false,"closes":[4401]}"#)
        else {
            panic!()
        };
        assert_eq!((fault.redis, fault.visible, fault.closes), (true, false, Some(vec![4401])));
    }
}
