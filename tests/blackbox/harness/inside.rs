//! A node within the process of the test, for what only its seams can show.

use std::collections::BTreeMap;

use shard_cache::config::{self, Config, Sources};

/// Free ports, a small memory, and these settings by their dotted paths.
pub(crate) fn configuration(settings: &[(&str, &str)]) -> Config {
    let common = [
        ("server.grpc.port", "0"),
        ("server.http.port", "0"),
        ("server.gossip.port", "0"),
        ("server.cache.max_memory", "64MiB"),
    ];
    let variable = |(path, value): &(&str, &str)| {
        let name = path.to_uppercase().replace('.', "__");
        (format!("SHARD_CACHE__{name}"), (*value).to_owned())
    };
    let environment: BTreeMap<String, String> =
        common.iter().chain(settings).map(variable).collect();
    let sources = Sources {
        environment,
        ..Sources::default()
    };
    config::load(sources)
        .expect("the configuration is legal")
        .config
}
