//! Compiles the `.proto` files with protox, so that no protoc is needed, and keeps the descriptor set for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "cache.proto",
        "shardcache/v1/cluster.proto",
        "shardcache/v1/admin.proto",
        "shardcache/peer/v1/peer.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    #[allow(
        clippy::disallowed_methods,
        reason = "cargo tells a build script where to write by this variable"
    )]
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection on the client port shows the client services only; the peer service stays internal.
    let mut public = descriptors.clone();
    public
        .file
        .retain(|file| !file.package().starts_with("shardcache.peer"));
    fs::write(out.join("client_descriptor.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // Nearly all answers go without one: they need not be as large as if they had it.
        .boxed(".cache.SetResponse.explain")
        .boxed(".cache.GetResponse.explain")
        .boxed(".cache.DeleteResponse.explain")
        .compile_fds(descriptors)?;
    Ok(())
}
