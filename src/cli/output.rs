//! Results on stdout, failures on stderr, in the form that was asked for.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::exit::Failure;
use crate::config::environment;

/// The form of results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document per line and item.
    Jsonl,
}

/// `-o`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArguments {
    /// Form of the result.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        env = "SHARD_CACHE_OUTPUT"
    )]
    pub(super) format: Format,
}

/// Writes to stdout as it is. A reader that went away ends the command quietly in success: it has seen enough.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::system("cannot write the result", &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes text and a line break.
pub(super) fn write_line(text: &str) -> Result<(), Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Writes one JSON document: indented for `json`, on one line for `jsonl`.
pub(super) fn write_json(format: Format, document: &Value) -> Result<(), Failure> {
    match format {
        Format::Jsonl => write_line(&document.to_string()),
        Format::Json | Format::Table => write_line(&format!("{document:#}")),
    }
}

/// Writes a list: one document for `json`, one line per item for `jsonl`.
pub(super) fn write_json_list(format: Format, items: &[Value]) -> Result<(), Failure> {
    match format {
        Format::Jsonl => items.iter().try_for_each(|item| write_json(format, item)),
        Format::Json | Format::Table => write_json(format, &Value::from(items)),
    }
}

/// Tells a failure on stderr: as JSON when results are.
pub(super) fn print_failure(failure: &Failure, format: Format) {
    let text = match format {
        Format::Table => {
            let label = if colours() {
                "\x1b[1;31merror:\x1b[0m"
            } else {
                "error:"
            };
            let hint = failure
                .hint
                .as_ref()
                .map(|hint| format!("\n  {hint}"))
                .unwrap_or_default();
            format!("{label} {}{hint}", printable(&failure.message))
        }
        Format::Json | Format::Jsonl => {
            let mut error = json!({ "code": failure.code, "message": failure.message });
            if let Some(hint) = &failure.hint {
                error["hint"] = hint.as_str().into();
            }
            json!({ "error": error }).to_string()
        }
    };
    note(&text);
}

/// A line for people on stderr.
pub(super) fn note(text: &str) {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A line about work that goes on, for people who watch: on a terminal only.
pub(super) fn progress(text: &str) {
    if io::stderr().is_terminal() {
        note(text);
    }
}

/// Whether diagnostics may be coloured: on a terminal, unless `NO_COLOR` is set.
fn colours() -> bool {
    io::stderr().is_terminal() && environment::variable("NO_COLOR").is_none()
}

/// Whether people read stdout.
pub(super) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// How a column of a table is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// A table without lines, as wide as its content. Cells are made printable.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let aligned = |column: &Column, text: &str| match column {
        Column::Left(_) => Cell::new(text).set_alignment(CellAlignment::Left),
        Column::Right(_) => Cell::new(text).set_alignment(CellAlignment::Right),
    };
    table.set_header(columns.iter().map(|column| match column {
        Column::Left(title) | Column::Right(title) => aligned(column, title),
    }));
    for row in rows {
        table.add_row(
            columns
                .iter()
                .zip(row)
                .map(|(column, text)| aligned(column, &printable(text))),
        );
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Text with control characters escaped, so that what others stored or named themselves cannot steer a terminal. Line
/// breaks and tabs stay.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{:02x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Bytes for a terminal: text with control characters escaped, other bytes as `\xNN`.
pub(super) fn printable_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Standard base64 with padding, as protobuf's JSON form has it.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for place in 0..4 {
            if place <= group.len() {
                let index = (bits >> (18 - 6 * place)) & 63;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(
            printable("a\x1b[31mb\0c\nd\te\u{9b}"),
            "a\\x1b[31mb\\x00c\nd\te\\x9b"
        );
        assert_eq!(printable("grüße ✓"), "grüße ✓");
        assert_eq!(printable_bytes(b"ok\xff\xfe\x07"), "ok\\xff\\xfe\\x07");
    }

    #[test]
    fn base64_is_the_standard_one() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_blanks() {
        let columns = [Column::Left("NODE"), Column::Right("ENTRIES")];
        let rows = [
            vec!["node1".to_owned(), "7".to_owned()],
            vec!["n\x1b2".to_owned(), "1234567890".to_owned()],
        ];
        assert_eq!(
            table(&columns, &rows),
            "NODE       ENTRIES\nnode1            7\nn\\x1b2  1234567890"
        );
    }
}
