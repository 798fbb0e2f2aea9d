//! Histories written by hand, each wrong one beside a legal near miss: what is wrong is flagged by the right name, and
//! nothing that is legal is.

mod excuses;
mod nodes;
mod reads;
mod story;
mod writes;
