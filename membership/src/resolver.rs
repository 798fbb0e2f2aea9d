//! How seed names become addresses. A seam: tests inject names that appear, move or fail.

use std::{future::Future, io, net::SocketAddr, pin::Pin};

/// The addresses of one name, eventually.
pub type Resolution<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Resolves seed names.
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of `host:port`. Must not block the thread; may be dropped at any await. Asked
    /// again each seed round, so it should not cache.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolution<'a>;
}

/// Asks the operating system, off the calling thread.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolution<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) })
    }
}
