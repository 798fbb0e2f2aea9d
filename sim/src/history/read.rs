//! Reads a history line by line.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::Deserialize;

use super::{
    History,
    chaos::{self, ChaosReader},
    error::ReadError,
    header::{FORMAT, Header},
    lines::Line,
    mark::Event,
};

/// Reads a history from its lines: in this format, or as the chaos tool records it.
///
/// # Errors
/// [`ReadError`], which names line and field.
pub fn read(mut lines: impl BufRead) -> Result<History, ReadError> {
    let mut line = String::new();
    let mut number = 0;
    let mut reader = None;
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            break;
        }
        number += 1;
        let text = line.trim();
        match &mut reader {
            None => reader = Some(Reader::begin(text)?),
            Some(Reader::Own(history)) => push(history, text, number)?,
            Some(Reader::Chaos(reader)) => reader.push(text, number)?,
        }
    }
    match reader {
        None => Err(ReadError::Empty),
        Some(Reader::Own(history)) => Ok(*history),
        Some(Reader::Chaos(reader)) => Ok(reader.finish()),
    }
}

/// Reads a history from a file.
///
/// # Errors
/// [`ReadError`], which names line and field.
pub fn read_file(path: &Path) -> Result<History, ReadError> {
    read(BufReader::with_capacity(1 << 20, File::open(path)?))
}

enum Reader {
    Own(Box<History>),
    Chaos(Box<ChaosReader>),
}

impl Reader {
    fn begin(first: &str) -> Result<Self, ReadError> {
        if chaos::is_first_line(first) {
            return Ok(Self::Chaos(Box::new(ChaosReader::begin(first)?)));
        }
        let Line::History(header) = parse(first, 1)? else {
            return Err(ReadError::NoHeader);
        };
        if header.format != FORMAT {
            return Err(ReadError::Format {
                found: header.format,
                expected: FORMAT,
            });
        }
        Ok(Self::Own(Box::new(History {
            header: header.into_owned(),
            ..History::default()
        })))
    }
}

/// Parses one line, naming the field where it goes wrong.
pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a str, line: usize) -> Result<T, ReadError> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let parsed = serde_path_to_error::deserialize(&mut parser)
        .map_err(|error| ReadError::field(line, &error))?;
    parser.end().map_err(|error| ReadError::Field {
        line,
        field: ".".to_owned(),
        message: error.to_string(),
    })?;
    Ok(parsed)
}

fn push(history: &mut History, text: &str, line: usize) -> Result<(), ReadError> {
    match parse(text, line)? {
        Line::History(_) => {
            return Err(ReadError::Inconsistent {
                line,
                field: "history",
                problem: "a second header",
            });
        }
        Line::Operation(operation) => {
            let operation = operation.into_operation(line)?;
            check_node(&history.header, line, operation.node, "operation.node")?;
            history.operations.push(operation);
        }
        Line::Mark(mark) => {
            let mark = mark.into_owned();
            for node in nodes_of(&mark.event) {
                check_node(&history.header, line, node, "mark.event")?;
            }
            history.marks.push(mark);
        }
        Line::Copy(copy) => {
            check_node(&history.header, line, copy.node, "copy.node")?;
            history.copies.push(copy.into_owned());
        }
    }
    Ok(())
}

fn check_node(
    header: &Header,
    line: usize,
    node: u32,
    field: &'static str,
) -> Result<(), ReadError> {
    let is_known =
        usize::try_from(node).is_ok_and(|place| header.cluster.nodes.get(place).is_some());
    if is_known {
        return Ok(());
    }
    Err(ReadError::Inconsistent {
        line,
        field,
        problem: "no such place in the header's nodes",
    })
}

fn nodes_of(event: &Event) -> Vec<u32> {
    match event {
        Event::FaultBegin { nodes, .. } | Event::Owners { nodes, .. } | Event::Healed { nodes } => {
            nodes.clone()
        }
        Event::Membership {
            node, ring_members, ..
        } => [&[*node], ring_members.as_slice()].concat(),
        Event::Crash { node }
        | Event::Boot { node, .. }
        | Event::Join { node }
        | Event::Leave { node }
        | Event::Drained { node, .. }
        | Event::Clock { node, .. }
        | Event::Evictions { node, .. }
        | Event::Usage { node, .. } => vec![*node],
        Event::FaultEnd { .. }
        | Event::Settled
        | Event::Unsettled { .. }
        | Event::Broken { .. } => Vec::new(),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
