//! The only place that reads environment variables.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the seam: the configuration reads the environment, once"
)]

use std::collections::BTreeMap;

use super::otel;

/// Prefix of every variable that the product reads itself.
pub const PREFIX: &str = "SHARD_CACHE_";

/// All variables that begin with [`PREFIX`] or with `OTEL_`, by name. Names and values that are not UTF-8 are shown with replacement
/// characters, so that what is wrong with them is reported where they are used.
#[must_use]
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| name.starts_with(PREFIX) || name.starts_with(otel::PREFIX))
        .collect()
}

/// One variable; `None` when absent, empty or not UTF-8.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
