//! Commands that can be typed while a cluster runs.

use super::{
    redis::{RedisMode, ServerName},
    redis_task::RedisCommand,
};

const HELP: &str = "\
kill 2      kill gw-2 (SIGKILL); also `kill redis`
stop 2      drain gw-2 and end it (SIGTERM)
start 2     start gw-2 again on the same ports; also `start redis`, with its data
roll        restart all instances one after another, each after the previous one is ready
scale 5     change the number of instances to 5; surplus instances drain and end
status      show all processes
open        open the chat in the browser
quit        end all processes at once";

const CLUSTER_HELP: &str = "
kill redis 2        kill one Redis; `start redis 2` starts it again
reshard 500 1 3     move 500 slots with their keys from redis 1 to redis 3
failover 2          promote the replica of redis 2 without loss; without a number: of the first master";

const SENTINEL_HELP: &str = "
kill redis 2        kill one Redis; `start redis 2` starts it again; also `kill sentinel 3`
failover            ask the Sentinels to promote the replica";

/// The answer to `help`, and to a line that is not a command.
pub(crate) fn help(mode: RedisMode) -> String {
    match mode {
        RedisMode::Single | RedisMode::Given => HELP.to_owned(),
        RedisMode::Sentinel => {
            HELP.replace("; also `kill redis`", "").replace("; also `start redis`, with its data", "") + SENTINEL_HELP
        }
        RedisMode::Cluster => {
            HELP.replace("; also `kill redis`", "").replace("; also `start redis`, with its data", "") + CLUSTER_HELP
        }
    }
}

/// A typed line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClusterCommand {
    Kill(CommandTarget),
    Stop(usize),
    Start(CommandTarget),
    /// A command of Redis that is neither a kill nor a start.
    Redis(RedisCommand),
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
    Server(ServerName),
}

impl ClusterCommand {
    /// Parses a line. The error is the answer, with an example of what would be right.
    pub(crate) fn parse(line: &str, mode: RedisMode) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => Ok(Self::Nothing),
            ["kill", ref target @ ..] if !target.is_empty() => Ok(Self::Kill(parse_target("kill", target, mode)?)),
            ["start", ref target @ ..] if !target.is_empty() => Ok(Self::Start(parse_target("start", target, mode)?)),
            ["stop", target, ..] if is_server(target) => Err(match mode {
                RedisMode::Single | RedisMode::Given => "Redis does not drain: `kill redis`".to_owned(),
                _ => format!("Redis does not drain: `kill {}`", words[1..].join(" ")),
            }),
            ["stop", target] => parse_instance(target).map(Self::Stop),
            ["scale", count] => number(count).map(Self::Scale),
            ["roll"] => Ok(Self::RollingRestart),
            ["status"] => Ok(Self::Status),
            ["open"] => Ok(Self::Open),
            ["help" | "?"] => Ok(Self::Help),
            ["quit" | "exit" | "q"] => Ok(Self::Quit),
            ["kill" | "start" | "stop"] => Err(format!("`{}` needs an instance, for example `{0} 2`.", words[0])),
            ["scale"] => Err("`scale` needs a number, for example `scale 5`.".to_owned()),
            ["reshard", ref rest @ ..] => parse_reshard(rest, mode),
            ["failover", ref rest @ ..] => parse_failover(rest, mode),
            _ => Err(format!("`{}` is not a command. Commands:\n{}", words.join(" "), help(mode))),
        }
    }
}

fn parse_reshard(words: &[&str], mode: RedisMode) -> Result<ClusterCommand, String> {
    const EXAMPLE: &str = "for example `reshard 500 1 3`: 500 slots from redis 1 to redis 3";
    if mode != RedisMode::Cluster {
        return Err("`reshard` needs a Redis Cluster: start with `--redis cluster`".to_owned());
    }
    let [count, from, to] = words else {
        return Err(format!("`reshard` needs a number of slots, a source and a target, {EXAMPLE}."));
    };
    let (count, from, to) = (number(count)?, number(from)?, number(to)?);
    if count == 0 || from == to {
        return Err(format!("`reshard` moves at least one slot to another server, {EXAMPLE}."));
    }
    Ok(ClusterCommand::Redis(RedisCommand::Reshard(count, from, to)))
}

fn parse_failover(words: &[&str], mode: RedisMode) -> Result<ClusterCommand, String> {
    match (mode, words) {
        (RedisMode::Single | RedisMode::Given, _) => {
            Err("`failover` needs a replica: start with `--redis sentinel` or `--redis cluster`".to_owned())
        }
        (_, []) => Ok(ClusterCommand::Redis(RedisCommand::FailOver(None))),
        (RedisMode::Cluster, [master]) => Ok(ClusterCommand::Redis(RedisCommand::FailOver(Some(number(master)?)))),
        (RedisMode::Cluster, _) => Err("`failover` takes one master, for example `failover 2`.".to_owned()),
        (RedisMode::Sentinel, _) => Err("there is one master: type `failover` alone".to_owned()),
    }
}

/// Parses `2`, `gw-2`, `redis`, `redis 2` (also `redis-2`) or `sentinel 2`.
fn parse_target(command: &str, words: &[&str], mode: RedisMode) -> Result<CommandTarget, String> {
    let (kind, counted) = match words {
        [word] => match word.split_once('-') {
            Some((kind @ ("redis" | "sentinel"), counted)) => (kind, Some(counted)),
            _ => (*word, None),
        },
        [kind, counted] if is_server(kind) => (*kind, Some(*counted)),
        _ => return Err(format!("`{command}` needs one process, for example `{command} 2`.")),
    };
    let server = |name| Ok(CommandTarget::Server(name));
    match (kind, counted, mode) {
        ("redis", None, RedisMode::Single | RedisMode::Given) => server(ServerName::Redis),
        ("redis", Some(_), RedisMode::Single | RedisMode::Given) => {
            Err(format!("there is one Redis: `{command} redis`"))
        }
        ("sentinel", _, RedisMode::Single | RedisMode::Given | RedisMode::Cluster) => {
            Err("there are no Sentinels: start with `--redis sentinel`".to_owned())
        }
        ("redis" | "sentinel", None, _) => Err(format!("which one? For example `{command} {kind} 2`.")),
        ("redis", Some(counted), _) => server(ServerName::RedisNumber(number(counted)?)),
        ("sentinel", Some(counted), _) => server(ServerName::Sentinel(number(counted)?)),
        (instance, _, _) => parse_instance(instance).map(CommandTarget::Instance),
    }
}

fn is_server(word: &str) -> bool {
    ["redis", "sentinel"].iter().any(|kind| word.starts_with(kind))
}

/// Parses `2` or `gw-2`.
fn parse_instance(word: &str) -> Result<usize, String> {
    let number = word.strip_prefix("gw-").unwrap_or(word).parse();
    number.map_err(|_| format!("`{word}` is not an instance: type `2` or `gw-2`"))
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("`{word}` is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parsed() {
        let parse = |line: &str| ClusterCommand::parse(line, RedisMode::Single);
        assert_eq!(parse("kill 2"), Ok(ClusterCommand::Kill(CommandTarget::Instance(2))));
        assert_eq!(parse("  stop   gw-2 "), Ok(ClusterCommand::Stop(2)));
        assert_eq!(parse("start redis"), Ok(ClusterCommand::Start(CommandTarget::Server(ServerName::Redis))));
        assert_eq!(parse("scale 5"), Ok(ClusterCommand::Scale(5)));
        assert_eq!(parse("roll"), Ok(ClusterCommand::RollingRestart));
        assert_eq!(parse(""), Ok(ClusterCommand::Nothing));
    }

    #[test]
    fn commands_for_several_redis_servers_are_parsed() {
        let cluster = |line: &str| ClusterCommand::parse(line, RedisMode::Cluster);
        let sentinel = |line: &str| ClusterCommand::parse(line, RedisMode::Sentinel);
        let redis = |number| CommandTarget::Server(ServerName::RedisNumber(number));
        assert_eq!(cluster("kill redis 2"), Ok(ClusterCommand::Kill(redis(2))));
        assert_eq!(cluster("start redis-2"), Ok(ClusterCommand::Start(redis(2))));
        assert_eq!(cluster("reshard 500 1 3"), Ok(ClusterCommand::Redis(RedisCommand::Reshard(500, 1, 3))));
        assert_eq!(cluster("failover 2"), Ok(ClusterCommand::Redis(RedisCommand::FailOver(Some(2)))));
        assert_eq!(sentinel("failover"), Ok(ClusterCommand::Redis(RedisCommand::FailOver(None))));
        let target = CommandTarget::Server(ServerName::Sentinel(3));
        assert_eq!(sentinel("kill sentinel 3"), Ok(ClusterCommand::Kill(target)));
    }

    #[test]
    fn mistakes_are_answered_with_an_example() {
        let answer = |line: &str| ClusterCommand::parse(line, RedisMode::Single).unwrap_err();
        assert!(answer("kill").contains("kill 2"));
        assert!(answer("kill two").contains("gw-2"));
        assert!(answer("scale many").contains("not a number"));
        assert!(answer("stop redis").contains("kill redis"));
        assert!(answer("explode").contains("quit") && !answer("explode").contains("reshard"));
        assert!(answer("reshard 500 1 3").contains("--redis cluster"));
        assert!(answer("failover").contains("--redis sentinel"));
        assert!(answer("kill redis 2").contains("`kill redis`"));
        assert!(answer("kill sentinel 2").contains("--redis sentinel"));
        assert!(answer("kill 1 2").contains("kill 2"));

        let answer = |line: &str| ClusterCommand::parse(line, RedisMode::Cluster).unwrap_err();
        assert!(answer("kill redis").contains("kill redis 2"));
        assert!(answer("stop redis 3").contains("kill redis 3"));
        assert!(answer("kill redis two").contains("not a number"));
        assert!(answer("reshard 500").contains("reshard 500 1 3"));
        assert!(answer("reshard 0 1 2").contains("at least one slot"));
        assert!(answer("reshard 5 1 1").contains("another server"));
        assert!(answer("failover 1 2").contains("failover 2"));
        assert!(answer("explode").contains("reshard 500 1 3"));
    }
}
