//! Commands.

pub mod check;
pub mod run;
pub mod scale;
pub mod sweep;
