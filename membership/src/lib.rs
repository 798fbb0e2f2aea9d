//! SWIM membership for shard-cache: who the members are, as one node believes.
//!
//! It knows nothing of keys, slots or rings. The picture, from the socket to the consumer:
//!
//! ```text
//! UDP ─► driver ─► pump ─► envelope ─► agent ─► foca ─► publication ─► View (watch) ─► handle ─► the node
//!                                       │ ▲
//!                                       │ └─ state (push-pull, over the peer port) ◄─► other nodes
//!                                       └─ records, seeds, push_pull, health, timers: plain values that it owns
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | [`view`] | the result: a whole, versioned list of members |
//! | [`record`], [`identity`] | what a node says of itself, at length and in 45 bytes |
//! | [`handle`], [`driver`], [`resolver`] | the running thread: commands, socket, clocks, seed names |
//! | [`pump`] | the loop around the agent, over any socket and clock |
//! | [`agent`] | the machine: inputs with their time in; datagrams, views and push-pull targets out |
//! | [`envelope`], `codec`, [`state`] | bytes: datagram frame, foca's values, the state of a push-pull |
//! | [`inquiry`] | asking a node who it is, without taking part |
//! | `records`, [`seeds`], [`push_pull`], `health`, `publication`, `timers` | the agent's parts, each free of foca |
//! | [`config`], [`counters`] | profiles with checked values; what is counted |
//!
//! foca appears in `agent` (with its parts in `agent/`), `codec` and `identity` alone; clocks and sockets in `driver`
//! and `resolver` alone. The simulator runs `pump`, and the tests run `agent`, on virtual time.

pub mod agent;
mod codec;
pub mod config;
pub mod counters;
pub mod driver;
pub mod envelope;
pub mod handle;
mod health;
pub mod identity;
pub mod inquiry;
mod publication;
pub mod pump;
pub mod push_pull;
pub mod record;
mod records;
pub mod resolver;
pub mod seeds;
pub mod state;
mod timers;
pub mod view;
