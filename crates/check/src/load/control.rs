//! Control of a run from outside: commands on standard input mark faults in the history and stop the run.

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
    Mark(FaultMark),
    Stop { stop: bool },
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "mark", rename_all = "snake_case")]
enum FaultMark {
    Fault(InjectedFault<'static>),
    Healed,
}

/// Executes commands until standard input ends; the run goes on after that. Sets `stop` when the run should end.
pub(crate) async fn execute_commands(recorder: Recorder, stop: watch::Sender<bool>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(ControlCommand::Mark(mark)) => {
                recorder.record(|t| {
                    Some(match mark {
                        FaultMark::Fault(fault) => HistoryLine::Fault(InjectedFault { t, ..fault }),
                        FaultMark::Healed => HistoryLine::Healed { t },
                    })
                });
                // The program that injects the fault waits for this answer.
                print_json(&json!({"state": "marked", "t": recorder.now()}));
            }
            Ok(ControlCommand::Stop { stop: now }) => {
                stop.send_replace(now);
            }
            Err(_) if line.trim().is_empty() => {}
            Err(error) => eprintln!("ignoring an invalid command on standard input: {line} ({error})"),
        }
    }
    // Dropping the sender would look like an order to stop.
    stop.closed().await;
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
        assert_eq!(parse(r#"{"mark":"healed"}"#), ControlCommand::Mark(FaultMark::Healed));
        let ControlCommand::Mark(FaultMark::Fault(fault)) = parse(r#"{"mark":"fault","name":"gateway killed"}"#) else {
            panic!()
        };
        assert_eq!((&*fault.name, fault.redis, fault.visible, fault.closes), ("gateway killed", false, true, None));
        let ControlCommand::Mark(FaultMark::Fault(fault)) =
            parse(r#"{"mark":"fault","name":"x","redis":true,"visible":false,"closes":[4401]}"#)
        else {
            panic!()
        };
        assert_eq!((fault.redis, fault.visible, fault.closes), (true, false, Some(vec![4401])));
    }
}
