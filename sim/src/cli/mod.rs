//! Commands.

pub mod check;
pub mod mutants;
pub mod run;
pub mod scale;
pub mod sweep;
