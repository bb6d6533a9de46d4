//! What can be typed while a cluster runs.

use std::str::FromStr;

/// ShownInstance for `help`, and below each mistake.
pub(crate) const HELP: &str = "\
kill 2      end gw-2 at once (kill -9); `kill redis` works too
stop 2      let gw-2 drain and end (SIGTERM)
start 2     start it again, on the same ports; `start redis` brings its data back
roll        restart all, one after another, each ready before the next goes
scale 5     have 5 instances; surplus ones drain
status      show what runs
open        open the chat in the browser
quit        end everything at once";

/// One line that was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClusterCommand {
    Kill(CommandTarget),
    Stop(usize),
    Start(CommandTarget),
    RollingRestart,
    Scale(usize),
    Status,
    Open,
    Help,
    Quit,
    /// An empty line.
    Nothing,
}

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandTarget {
    Instance(usize),
    Redis,
}

impl FromStr for ClusterCommand {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => Ok(Self::Nothing),
            ["kill", target] => Ok(Self::Kill(parse_target(target)?)),
            ["start", target] => Ok(Self::Start(parse_target(target)?)),
            ["stop", target] => match parse_target(target)? {
                CommandTarget::Instance(number) => Ok(Self::Stop(number)),
                CommandTarget::Redis => Err("Redis does not drain: `kill redis`".to_owned()),
            },
            ["scale", count] => count.parse().map(Self::Scale).map_err(|_| format!("`{count}` is no number")),
            ["roll"] => Ok(Self::RollingRestart),
            ["status"] => Ok(Self::Status),
            ["open"] => Ok(Self::Open),
            ["help" | "?"] => Ok(Self::Help),
            ["quit" | "exit" | "q"] => Ok(Self::Quit),
            ["kill" | "start" | "stop"] => Err(format!("`{}` whom? For instance `{0} 2`.", words[0])),
            ["scale"] => Err("`scale` to how many? For instance `scale 5`.".to_owned()),
            _ => Err(format!("`{}` is not understood. What can be typed:\n{HELP}", words.join(" "))),
        }
    }
}

/// `2`, `gw-2` or `redis`.
fn parse_target(word: &str) -> Result<CommandTarget, String> {
    if word == "redis" {
        return Ok(CommandTarget::Redis);
    }
    let number = word.strip_prefix("gw-").unwrap_or(word).parse();
    number.map(CommandTarget::Instance).map_err(|_| format!("`{word}` is no instance: say `2` or `gw-2`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let parse = |line: &str| line.parse::<ClusterCommand>();
        assert_eq!(parse("kill 2"), Ok(ClusterCommand::Kill(CommandTarget::Instance(2))));
        assert_eq!(parse("  stop   gw-2 "), Ok(ClusterCommand::Stop(2)));
        assert_eq!(parse("start redis"), Ok(ClusterCommand::Start(CommandTarget::Redis)));
        assert_eq!(parse("scale 5"), Ok(ClusterCommand::Scale(5)));
        assert_eq!(parse("roll"), Ok(ClusterCommand::RollingRestart));
        assert_eq!(parse(""), Ok(ClusterCommand::Nothing));
    }

    #[test]
    fn mistakes_are_told_what_to_type() {
        let complaint = |line: &str| line.parse::<ClusterCommand>().unwrap_err();
        assert!(complaint("kill").contains("kill 2"));
        assert!(complaint("kill two").contains("gw-2"));
        assert!(complaint("scale many").contains("no number"));
        assert!(complaint("stop redis").contains("kill redis"));
        assert!(complaint("explode").contains("quit"));
    }
}
