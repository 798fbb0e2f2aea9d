//! The wire contract of shard-cache: protobuf messages and gRPC services generated from the `.proto` files beside
//! this crate. It knows nothing of the rest of the system.

// Generated code carries the comments of the .proto files where there are any, and none elsewhere.
#![allow(missing_docs, reason = "documented in the .proto files")]
#![allow(clippy::derive_partial_eq_without_eq, reason = "generated code")]

/// `cache.CacheService`, the client interface.
pub mod cache {
    tonic::include_proto!("cache");
}

/// `shardcache.v1.Cluster` and `shardcache.v1.Admin`: questions about the cluster, and what operators do with nodes.
pub mod cluster {
    tonic::include_proto!("shardcache.v1");
}

/// `shardcache.peer.v1.Peer`, what nodes say to each other.
pub mod peer {
    tonic::include_proto!("shardcache.peer.v1");
}

/// Descriptor set of the client services, for reflection. The peer service is left out.
pub const CLIENT_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/client_descriptor.bin"));
