//! Models of the concurrent structures: the production code under shuttle's scheduler, which
//! explores interleavings at every lock and atomic. Needs the feature `race`, which puts shuttle's
//! primitives in the place of std's.

mod pending;
mod store;
