//! `docs/CONFIG.md`, written from the declarations.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The reference of all settings, as Markdown.
pub(super) fn markdown(command: &Command) -> String {
    let mut text = String::from(HEAD);
    let args: Vec<&Arg> = command.get_arguments().filter(|arg| arg.get_env().is_some() && !arg.is_hide_set()).collect();
    let mut headings: Vec<&str> = Vec::new();
    for heading in args.iter().filter_map(|arg| arg.get_help_heading()) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {heading}\n\n| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n");
        for arg in args.iter().filter(|arg| arg.get_help_heading() == Some(heading)) {
            let _ = writeln!(text, "{}", row(arg));
        }
    }
    text.push_str(FOOT);
    text
}

fn row(arg: &Arg) -> String {
    let flag = arg.get_long().unwrap_or_default();
    let value = arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
    let variable = arg.get_env().map(|name| name.to_string_lossy()).unwrap_or_default();
    let default =
        arg.get_default_values().first().map(|value| format!("`{}`", value.to_string_lossy())).unwrap_or_default();
    let possible: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let choices = if possible.is_empty() { String::new() } else { format!(" One of {}.", possible.join(", ")) };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ");
    let help = format!("{}{choices}", help.trim_end_matches('.').to_owned() + ".").replace('|', "\\|");
    format!("| `--{flag} {value}` | `{variable}` | {default} | {help} |")
}

const HEAD: &str = "\
# Settings

<!-- Written by `cargo run -p trunkline-gateway -- reference > docs/CONFIG.md`; a test holds it in step. -->

`trunkline serve` (or `trunkline` alone) takes these flags. Each is also a variable of the environment; a flag wins over its
variable. Flags that may be repeated take a comma-separated list in their variable. Times are written `500ms`, `25s`, `30m`,
`8h`, `7d`. Wrong usage ends the program with exit code 2 and a message.
";

const FOOT: &str = "
## The key that signs session cookies

With `--redis`, every instance needs the same key, or a person who diff to another instance is logged out:

```sh
openssl rand -hex 64 > secret
trunkline serve --redis redis://127.0.0.1:6379 --secret-file secret
```

Instead of a file, `TRUNKLINE_SECRET` can hold the key; there is no flag for it, since arguments show in process lists. A file
with several lines holds several keys: the first signs, the others are still accepted. Without `--redis`, and without a key, the
process makes a random one and says so: its restart ends all sessions, which it would do anyway.

## Log lines

`RUST_LOG` chooses which lines are logged: `info` unless set; `warn`, `debug`, or one a module, such as
`info,trunkline_gateway=debug`. Logs name people, rooms, connections and reasons; never texts, cookies or keys.
";
