//! Commands.

pub mod check;
pub mod mutants;
pub mod pace;
pub mod report_file;
pub mod run;
pub mod scale;
pub mod scenario;
pub mod shrink;
pub mod sweep;
