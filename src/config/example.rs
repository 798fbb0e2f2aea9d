//! Renders the tree as YAML: the commented example from the defaults, and the effective configuration.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::{
    error::Origin,
    model::Config,
    reference::{ENTRIES, Entry},
};

/// Width of the example file, in characters.
const WIDTH: usize = 80;

const HEADER: &str = "\
# The configuration of a shard-cache node: every field with its default.
# Written by `shard-cache config example`; `shard-cache config check FILE` tells
# what is wrong with a file, and where.
#
# Precedence: defaults < this file < environment < flags. Every field can be set
# as SHARD_CACHE__SERVER__GRPC__PORT=8080 too. Durations look like 100ms, 3600s
# or 24h, sizes like 64KiB or 512MiB.
---
";

/// Every field with its documentation and default: the content of `deploy/example.config.yaml`.
#[must_use]
pub fn example() -> String {
    let tree = to_value(&Config::default());
    let mut out = HEADER.to_owned();
    for (index, entry) in ENTRIES.iter().enumerate() {
        if depth(entry) == 0 && index > 0 {
            out.push('\n');
        }
        comment(&mut out, entry);
        match (value(&tree, entry), entry.sample) {
            (Value::Null, Some(sample)) => line(&mut out, entry, "# ", sample),
            (value, _) => line(&mut out, entry, "", &scalar(value)),
        }
    }
    out
}

/// A configuration as YAML that reads back as itself.
#[must_use]
pub fn print(config: &Config) -> String {
    render(config, |_| None)
}

/// As [`print()`], with a comment behind every value that says where it comes from.
#[must_use]
pub fn print_with_origins(config: &Config, origins: &BTreeMap<String, Origin>) -> String {
    render(config, |path| {
        Some(origins.get(path).unwrap_or(&Origin::Default).to_string())
    })
}

fn render(config: &Config, origin: impl Fn(&str) -> Option<String>) -> String {
    let tree = to_value(config);
    let mut out = String::new();
    for entry in ENTRIES {
        let value = value(&tree, entry);
        let mut text = scalar(value);
        if let (false, Some(origin)) = (value.is_object(), origin(entry.path)) {
            // Writing to a string cannot fail.
            let _ = write!(text, "  # {origin}");
        }
        line(&mut out, entry, "", &text);
    }
    out
}

fn to_value(config: &Config) -> Value {
    serde_json::to_value(config).expect("the tree has text keys and finite numbers only")
}

fn value<'a>(tree: &'a Value, entry: &Entry) -> &'a Value {
    let pointer = format!("/{}", entry.path.replace('.', "/"));
    tree.pointer(&pointer).unwrap_or(&Value::Null)
}

fn depth(entry: &Entry) -> usize {
    entry.path.matches('.').count()
}

fn line(out: &mut String, entry: &Entry, prefix: &str, text: &str) {
    let indent = 2 * depth(entry);
    let key = entry
        .path
        .rsplit_once('.')
        .map_or(entry.path, |(_, key)| key);
    let blank = if text.is_empty() { "" } else { " " };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:indent$}{prefix}{key}:{blank}{text}", "");
}

/// The documentation of an entry as comment lines that fit the width.
fn comment(out: &mut String, entry: &Entry) {
    let start = format!("{:indent$}#", "", indent = 2 * depth(entry));
    let mut current = start.clone();
    for word in entry.doc.split_whitespace() {
        if current.len() + 1 + word.len() > WIDTH && current.len() > start.len() {
            out.push_str(&current);
            out.push('\n');
            current.clone_from(&start);
        }
        current.push(' ');
        current.push_str(word);
    }
    out.push_str(&current);
    out.push('\n');
}

/// A value on one line; empty for a section.
fn scalar(value: &Value) -> String {
    match value {
        Value::Object(_) => String::new(),
        Value::Array(list) => {
            let elements: Vec<_> = list.iter().map(scalar).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::String(text) if is_plain(text) => text.clone(),
        // A JSON string is a double-quoted YAML one.
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Whether a text reads back as the same text without quotes.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "y", "n"];
    let plain_start = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let reserved = WORDS.contains(&text.to_ascii_lowercase().as_str());
    plain_start && plain && !reserved && text.parse::<f64>().is_err() && !text.starts_with("0x")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file::ConfigFile;

    fn parse(text: String) -> Config {
        ConfigFile::parse(Path::new("test.yaml"), text)
            .unwrap_or_else(|e| panic!("{e}"))
            .config
    }

    #[test]
    fn the_example_file_is_up_to_date() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/example.config.yaml");
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == example(),
            "{} is out of date: write it with `shard-cache config example`",
            file.display()
        );
    }

    #[test]
    fn the_example_parses_to_the_defaults() {
        assert_eq!(parse(example()), Config::default());
    }

    #[test]
    fn the_samples_of_absent_fields_are_valid() {
        let uncommented: String = example()
            .lines()
            .map(|line| {
                let sample = line.trim_start().strip_prefix("# ").filter(|rest| {
                    rest.split_once(": ").is_some_and(|(key, _)| {
                        ENTRIES
                            .iter()
                            .any(|e| e.sample.is_some() && e.path.ends_with(&format!(".{key}")))
                    })
                });
                let indent = line.len() - line.trim_start().len();
                sample.map_or_else(
                    || format!("{line}\n"),
                    |rest| format!("{:indent$}{rest}\n", ""),
                )
            })
            .collect();
        let config = parse(uncommented);
        assert_eq!(config.server.cache.max_memory, Some(512 << 20));
        assert_eq!(config.cluster.min_members, Some(2));
        assert_eq!(config.node.name.as_deref(), Some("node1"));
        assert!(config.server.advertise.is_some());
    }

    #[test]
    fn no_line_of_the_example_is_too_wide() {
        for line in example().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_as_itself() {
        let mut config = Config::default();
        config.server.bind = vec!["::".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        config.server.advertise = Some("[::1]:7946".parse().unwrap());
        config.cluster.seeds = vec!["node1:7946".to_owned()];
        config.cluster.id = "no".to_owned();
        config.node.name = Some("12".to_owned());
        config.node.zone = "a\"b#c".to_owned();
        config.server.cache.max_memory = Some(3 << 30);
        config.server.limits.cpu_threshold = 1.0;
        assert_eq!(parse(print(&config)), config);
        assert_eq!(parse(print_with_origins(&config, &BTreeMap::new())), config);
    }
}
