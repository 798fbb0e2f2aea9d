//! Makes the Go-style command line of the original understood: `-grpc-port=8080` with one dash, and no subcommand.

use std::ffi::OsString;

use clap::Args as _;

use super::serve::ServeArguments;

/// Puts `serve` in where no subcommand stands, and gives the long flags of `serve` their second dash.
pub(super) fn normalize(argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut argv: Vec<_> = argv.into_iter().collect();
    let first = argv
        .get(1)
        .and_then(|first| first.to_str())
        .unwrap_or_default()
        .to_owned();
    if argv.len() < 2 || (first.starts_with('-') && !asks_about_the_program(&first)) {
        let place = argv.len().min(1);
        argv.insert(place, "serve".into());
    } else if first != "serve" {
        return argv;
    }
    let command = ServeArguments::augment_args(clap::Command::new("serve"));
    let mut flags: Vec<_> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    flags.push("help");
    for argument in argv
        .iter_mut()
        .skip(2)
        .take_while(|argument| *argument != "--")
    {
        let Some(text) = argument.to_str() else {
            continue;
        };
        let Some(name) = text
            .strip_prefix('-')
            .and_then(|rest| rest.split('=').next())
        else {
            continue;
        };
        if flags.contains(&name) {
            *argument = format!("-{text}").into();
        }
    }
    argv
}

fn asks_about_the_program(argument: &str) -> bool {
    ["-h", "--help", "-V", "--version"].contains(&argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(line: &str) -> String {
        let argv = line.split_whitespace().map(OsString::from);
        let argv: Vec<_> = normalize(argv)
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        argv.join(" ")
    }

    #[test]
    fn the_commands_of_the_original_become_serve_with_long_flags() {
        for (given, expected) in [
            ("sc", "sc serve"),
            (
                "sc -grpc-port=8080 -http-port=8081 -log-level=debug",
                "sc serve --grpc-port=8080 --http-port=8081 --log-level=debug",
            ),
            ("sc -grpc-port 8080", "sc serve --grpc-port 8080"),
            (
                "sc serve -seed=a:1 -seed b:2",
                "sc serve --seed=a:1 --seed b:2",
            ),
            ("sc --grpc-port 1", "sc serve --grpc-port 1"),
            ("sc serve -help", "sc serve --help"),
        ] {
            assert_eq!(normalized(given), expected);
        }
    }

    #[test]
    fn other_commands_and_short_flags_are_left_alone() {
        for line in [
            "sc --help",
            "sc -V",
            "sc get key -o json",
            "sc set -config value",
            "sc serve -h",
            "sc serve -unknown-flag=1",
            "sc serve -- -grpc-port=1",
        ] {
            assert_eq!(normalized(line), line);
        }
        assert_eq!(normalize([]), [OsString::from("serve")]);
    }
}
