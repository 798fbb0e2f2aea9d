//! `shard-cache local demo`: what `make run-local` ends with.

use std::time::Duration;

use clap::Args;
use shard_cache_client::{CallOptions, Client, ClientOptions, Ttl, Value};

use super::{
    DirectoryArguments,
    cluster::{LocalCluster, LocalNode},
};
use crate::cli::{
    connection::block_on,
    exit::{Exit, Failure},
    output,
};

/// How long each step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
const KEY: &str = "greeting";

/// Set a key on the first node of the local cluster and read it on the last.
#[derive(Debug, Args)]
pub(in crate::cli) struct DemoArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
}

pub(super) fn run(arguments: &DemoArguments) -> Result<Exit, Failure> {
    let cluster = LocalCluster::open(&arguments.directory.directory)?;
    let (Some(first), Some(last)) = (cluster.nodes.first(), cluster.nodes.last()) else {
        return Err(Failure::failed("the local cluster has no nodes"));
    };
    let greeting = format!("hello from {}", first.name);
    let (stored, read) = block_on(async {
        let call = CallOptions::default();
        let value = Value::from(greeting.as_str());
        let written = connect(first)
            .await?
            .set(KEY, value, Ttl::Default, &call)
            .await?;
        Ok((written.stored, connect(last).await?.get(KEY, &call).await?))
    })?;
    output::write_line(&format!(
        "set {KEY} = \"{greeting}\" on {} ({}): stored on {stored} nodes",
        first.name,
        first.endpoint()
    ))?;
    let value = read.hit.map(|hit| hit.value);
    let shown = value.as_ref().map_or_else(
        || "(absent)".to_owned(),
        |value| format!("\"{}\"", output::printable_bytes(value.as_bytes())),
    );
    output::write_line(&format!(
        "get {KEY} = {shown} on {} ({})",
        last.name,
        last.endpoint()
    ))?;
    if value != Some(Value::from(greeting)) {
        return Err(Failure::failed("the value read is not the value set"));
    }
    output::write_line(&next_steps(first, last))?;
    Ok(Exit::Ok)
}

async fn connect(node: &LocalNode) -> Result<Client, Failure> {
    let options = ClientOptions {
        timeout: STEP_TIMEOUT,
        ..ClientOptions::default()
    };
    Ok(Client::connect(&node.endpoint(), options).await?)
}

fn next_steps(first: &LocalNode, last: &LocalNode) -> String {
    format!(
        "
The cluster is running. Try:
  ./shard-cache get {KEY} --endpoint {last}
  ./shard-cache cluster status --endpoint {first}
  grpcurl -plaintext -d '{{\"key\": \"{KEY}\"}}' {last} cache.CacheService/Get
  curl http://localhost:{http}/health
  ./shard-cache local kill 2      then get again, and: ./shard-cache local start 2
  make stop-local",
        last = last.endpoint(),
        first = first.endpoint(),
        http = first.ports.http,
    )
}
