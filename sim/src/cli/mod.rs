//! Commands.

pub mod check;
pub mod run;
pub mod sweep;
