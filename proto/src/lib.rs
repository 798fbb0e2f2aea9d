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

/// How an explanation travels with a failure: among the details of its gRPC status, a `google.rpc.Status`.
pub mod explained {
    use prost::Message;

    use crate::cache::Explain;

    const TYPE_URL: &str = "type.googleapis.com/cache.Explain";

    /// Of `google.rpc.Status`, only this.
    #[derive(Clone, PartialEq, Message)]
    struct Details {
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }

    /// As `google.protobuf.Any`.
    #[derive(Clone, PartialEq, Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }

    /// The details of a status with an explanation after them: encoded messages that follow each other are one.
    #[must_use]
    pub fn with(details: &[u8], explain: &Explain) -> Vec<u8> {
        let one = Any {
            type_url: TYPE_URL.to_owned(),
            value: explain.encode_to_vec(),
        };
        let more = Details { details: vec![one] }.encode_to_vec();
        [details, &more].concat()
    }

    /// The explanation among the details of a status.
    #[must_use]
    pub fn find(details: &[u8]) -> Option<Explain> {
        let details = Details::decode(details).ok()?.details;
        let one = details.into_iter().find(|one| one.type_url == TYPE_URL)?;
        Explain::decode(one.value.as_slice()).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_explanation_is_found_after_other_details() {
            let explain = Explain {
                slot: 7,
                ..Explain::default()
            };
            let other = Any {
                type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
                value: vec![1],
            };
            let before = Details {
                details: vec![other],
            };
            let details = with(&before.encode_to_vec(), &explain);
            assert_eq!(find(&details), Some(explain));
            assert_eq!(find(&before.encode_to_vec()), None);
            assert_eq!(find(&[0xff]), None);
        }
    }
}

/// Descriptor set of the client services, for reflection. The peer service is left out.
pub const CLIENT_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/client_descriptor.bin"));
