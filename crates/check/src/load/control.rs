//! Being told from outside: marks for the history, and when to stop.

use std::io::Write as _;

use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
};

use super::recorder::Recorder;
use crate::history::{Fault, Line};

/// One line of standard input.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum Order {
    Mark(Mark),
    Stop { stop: bool },
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "mark", rename_all = "snake_case")]
enum Mark {
    Fault(Fault<'static>),
    Healed,
}

/// Follows standard input until it ends; the run goes on after that. `stop` becomes true when it should end.
pub(crate) async fn follow(recorder: Recorder, stop: watch::Sender<bool>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Order::Mark(mark)) => {
                recorder.write(|t| {
                    Some(match mark {
                        Mark::Fault(fault) => Line::Fault(Fault { t, ..fault }),
                        Mark::Healed => Line::Healed { t },
                    })
                });
                // Whoever breaks something waits for this. Who reads no answers needs none.
                let mut out = std::io::stdout().lock();
                let told = json!({"state": "marked", "t": recorder.now()});
                let _ = writeln!(out, "{told}").and_then(|()| out.flush());
            }
            Ok(Order::Stop { stop: now }) => {
                stop.send_replace(now);
            }
            Err(_) if line.trim().is_empty() => {}
            Err(error) => eprintln!("not an order: {line} ({error})"),
        }
    }
    // Whoever waits for the order must not take the end of the input for it.
    stop.closed().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Order {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn orders_are_read() {
        assert_eq!(order(r#"{"stop":true}"#), Order::Stop { stop: true });
        assert_eq!(order(r#"{"mark":"healed"}"#), Order::Mark(Mark::Healed));
        let Order::Mark(Mark::Fault(fault)) = order(r#"{"mark":"fault","name":"gateway killed"}"#) else { panic!() };
        assert_eq!((&*fault.name, fault.redis, fault.visible, fault.closes), ("gateway killed", false, true, None));
        let Order::Mark(Mark::Fault(fault)) =
            order(r#"{"mark":"fault","name":"x","redis":true,"visible":false,"closes":[4401]}"#)
        else {
            panic!()
        };
        assert_eq!((fault.redis, fault.visible, fault.closes), (true, false, Some(vec![4401])));
    }
}
