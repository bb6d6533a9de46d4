//! Commands that can be typed while a cluster runs.

use std::str::FromStr;

/// The answer to `help`, and to a line that is not a command.
pub(crate) const HELP: &str = "\
kill 2      kill gw-2 (SIGKILL); also `kill redis`
stop 2      drain gw-2 and end it (SIGTERM)
start 2     start gw-2 again on the same ports; also `start redis`, with its data
roll        restart all instances one after another, each after the previous one is ready
scale 5     change the number of instances to 5; surplus instances drain and end
status      show all processes
open        open the chat in the browser
quit        end all processes at once";

/// A typed line.
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

/// The process that a command applies to.
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
            ["scale", count] => count.parse().map(Self::Scale).map_err(|_| format!("`{count}` is not a number")),
            ["roll"] => Ok(Self::RollingRestart),
            ["status"] => Ok(Self::Status),
            ["open"] => Ok(Self::Open),
            ["help" | "?"] => Ok(Self::Help),
            ["quit" | "exit" | "q"] => Ok(Self::Quit),
            ["kill" | "start" | "stop"] => Err(format!("`{}` needs an instance, for example `{0} 2`.", words[0])),
            ["scale"] => Err("`scale` needs a number, for example `scale 5`.".to_owned()),
            _ => Err(format!("`{}` is not a command. Commands:\n{HELP}", words.join(" "))),
        }
    }
}

/// Parses `2`, `gw-2` or `redis`.
fn parse_target(word: &str) -> Result<CommandTarget, String> {
    if word == "redis" {
        return Ok(CommandTarget::Redis);
    }
    let number = word.strip_prefix("gw-").unwrap_or(word).parse();
    number.map(CommandTarget::Instance).map_err(|_| format!("`{word}` is not an instance: type `2` or `gw-2`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parsed() {
        let parse = |line: &str| line.parse::<ClusterCommand>();
        assert_eq!(parse("kill 2"), Ok(ClusterCommand::Kill(CommandTarget::Instance(2))));
        assert_eq!(parse("  stop   gw-2 "), Ok(ClusterCommand::Stop(2)));
        assert_eq!(parse("start redis"), Ok(ClusterCommand::Start(CommandTarget::Redis)));
        assert_eq!(parse("scale 5"), Ok(ClusterCommand::Scale(5)));
        assert_eq!(parse("roll"), Ok(ClusterCommand::RollingRestart));
        assert_eq!(parse(""), Ok(ClusterCommand::Nothing));
    }

    #[test]
    fn mistakes_are_answered_with_an_example() {
        let answer = |line: &str| line.parse::<ClusterCommand>().unwrap_err();
        assert!(answer("kill").contains("kill 2"));
        assert!(answer("kill two").contains("gw-2"));
        assert!(answer("scale many").contains("not a number"));
        assert!(answer("stop redis").contains("kill redis"));
        assert!(answer("explode").contains("quit"));
    }
}
