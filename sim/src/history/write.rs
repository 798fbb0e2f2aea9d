//! Writes a history line by line, while it happens.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use super::{
    History,
    header::Header,
    lines::Line,
    mark::{Mark, OwnerCopy},
    operation::Operation,
};

/// Writes the lines of one history. Give it a buffered writer.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: W,
}

impl<W: Write> Writer<W> {
    /// Begins a history with its header.
    ///
    /// # Errors
    /// Writing failed; what was written is incomplete.
    pub fn begin(sink: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { sink };
        writer.line(&Line::History(Cow::Borrowed(header)))?;
        Ok(writer)
    }

    /// Writes a whole history.
    ///
    /// # Errors
    /// Writing failed; what was written is incomplete.
    pub fn write_all(sink: W, history: &History) -> io::Result<()> {
        let mut writer = Self::begin(sink, &history.header)?;
        for operation in &history.operations {
            writer.operation(operation)?;
        }
        for mark in &history.marks {
            writer.mark(mark)?;
        }
        for copy in &history.copies {
            writer.copy(copy)?;
        }
        writer.finish().map(drop)
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// Writing failed.
    pub fn operation(&mut self, operation: &Operation) -> io::Result<()> {
        self.line(&Line::Operation(operation.into()))
    }

    /// Adds a mark.
    ///
    /// # Errors
    /// Writing failed.
    pub fn mark(&mut self, mark: &Mark) -> io::Result<()> {
        self.line(&Line::Mark(Cow::Borrowed(mark)))
    }

    /// Adds what an owner holds of a key.
    ///
    /// # Errors
    /// Writing failed.
    pub fn copy(&mut self, copy: &OwnerCopy) -> io::Result<()> {
        self.line(&Line::Copy(Cow::Borrowed(copy)))
    }

    /// Ends the history and gives the sink back.
    ///
    /// # Errors
    /// Writing failed.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.sink, line)?;
        self.sink.write_all(b"\n")
    }
}
