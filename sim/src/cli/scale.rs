//! `scale`: membership with many nodes, as a table.

use std::{fs, io, path::PathBuf};

use clap::Args;

use super::check::Exit;
use crate::scale::{Variant, measure, table};

/// Arguments of `scale`.
#[derive(Args, Clone, Debug)]
pub struct ScaleArguments {
    /// How many nodes.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(4..=4000))]
    pub nodes: u16,
    /// What everything follows from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Writes the table between its markers in this document, too.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// Runs the command.
#[must_use]
pub fn run(arguments: &ScaleArguments) -> Exit {
    let (nodes, seed) = (arguments.nodes, arguments.seed);
    let mut columns = Vec::new();
    for variant in Variant::ALL {
        let mut progress = |step: &str| eprintln!("{}: {step}", variant.title());
        match measure(variant, nodes, seed, &mut progress) {
            Ok(figures) => columns.push((variant, figures)),
            Err(error) => {
                eprintln!("the agent cannot be made: {error}");
                return Exit::Failed;
            }
        }
    }
    let rendered = table::render(nodes, seed, &columns);
    print!("{rendered}");
    let Some(file) = &arguments.write else {
        return Exit::Kept;
    };
    let written = fs::read_to_string(file).and_then(|document| {
        let missing = || io::Error::other(format!("it lacks {} and {}", table::BEGIN, table::END));
        fs::write(
            file,
            table::insert(&document, &rendered).ok_or_else(missing)?,
        )
    });
    match written {
        Ok(()) => Exit::Kept,
        Err(error) => {
            eprintln!("cannot write {}: {error}", file.display());
            Exit::Failed
        }
    }
}
