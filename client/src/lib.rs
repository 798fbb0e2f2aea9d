//! A small client for shard-cache.
//!
//! Any node serves any key, so a [`Client`] connects to one node and stays with it. Every call has a deadline, which
//! travels to the node and is enforced here too. Nothing is retried: an error says whether the call surely had no
//! effect or may still have one ([`ClientError::outcome`]), and the caller decides.
//!
//! ```no_run
//! use shard_cache_client::{CallOptions, Client, ClientOptions, Ttl, Value};
//!
//! # async fn example() -> Result<(), shard_cache_client::ClientError> {
//! let client = Client::connect("localhost:8080", ClientOptions::default()).await?;
//! let call = CallOptions::default();
//! client.set("greeting", Value::from("hello"), Ttl::Default, &call).await?;
//! let read = client.get("greeting", &call).await?;
//! assert_eq!(read.hit.map(|hit| hit.value), Some(Value::from("hello")));
//! # Ok(())
//! # }
//! ```

mod admin;
mod client;
mod deadline;
mod endpoint;
mod error;
mod request;
mod spans;

pub use admin::{DrainProgresses, HintTarget};
pub use client::{Client, ClientOptions, Explained};
pub use error::{ClientError, Outcome};
pub use request::{
    CallOptions, Consistency, Deleted, Hit, KEY_BYTES_MAX_DEFAULT, Read, Ttl,
    VALUE_BYTES_MAX_DEFAULT, Value, Version, Written,
};

/// How a node carried a request out, as [`Client::get_explained`] and the like answer.
pub use shard_cache_proto::cache::{Explain, OwnerAnswer, ReplicaRequest, Stage};

/// The answer to [`Client::health`].
pub use shard_cache_proto::cache::HealthResponse;
/// The messages of `shardcache.v1.Cluster` and `shardcache.v1.Admin`, which those calls answer with.
pub use shard_cache_proto::cluster;
