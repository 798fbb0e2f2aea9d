//! The checker proves itself: it flags what is wrong by the right name, and nothing that is legal.
//!
//! - `reads`, `writes`, `excuses`, `nodes`: histories written by hand, each wrong one beside a legal near miss;
//! - `twin`, `legal`: a small replicated register makes legal histories of every kind; none is flagged;
//! - `planted`: the same register with one thing done wrong is found out by the invariant that names it;
//! - `mutations`: one wrong answer planted in a legal history is flagged by the invariant that names it;
//! - `pairwise`, `linearizable`: slow checkers that are right by sight agree on small random histories;
//! - `speed`: a million operations.

mod excuses;
mod legal;
mod linearizable;
mod mutations;
mod nodes;
mod pairwise;
mod planted;
mod reads;
mod speed;
mod story;
mod twin;
mod writes;
