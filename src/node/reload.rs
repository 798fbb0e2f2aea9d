//! What may change while the node runs: the configuration is read again, and what is different in it is put into use, all
//! of it or, where anything is wrong, nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::{
    config::{Config, ConfigError},
    coordinator::{Coordinator, Tuning},
    overload::Admission,
    telemetry::logs::{self, LogsError},
};

/// Reads the configuration of this process anew.
pub type ConfigSource = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Fields that may change while the node runs. All others need a restart.
const LIVE: [&str; 7] = [
    LOG_LEVEL,
    "client.hedging.enabled",
    "client.hedging.ratio",
    "client.hedging.timeout",
    "server.cache.default_ttl",
    "server.limits.cpu_threshold",
    "server.limits.max_concurrent_requests",
];

const LOG_LEVEL: &str = "telemetry.log_level";

/// Why nothing was reloaded. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration cannot be read, or something in it is wrong.
    #[error("the configuration is wrong, and the one in use stays:\n{0}")]
    Config(#[from] ConfigError),
    /// Logs cannot be changed.
    #[error("the log level cannot be changed: {0}")]
    Logs(#[from] LogsError),
    /// The node was started by something else than a configuration.
    #[error("this node has no configuration that could be read again")]
    NoSource,
}

/// What a reload found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reloaded {
    /// In use now.
    pub changed: Vec<Change>,
    /// In use after a restart.
    pub restart_needed: Vec<Change>,
}

/// A field whose value is another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The field, such as `server.cache.default_ttl`.
    pub path: String,
    /// In use until now.
    pub before: String,
    /// In the configuration now.
    pub after: String,
}

/// Puts changes of the configuration into use.
pub(super) struct Reloader {
    source: Option<ConfigSource>,
    admission: Arc<Admission>,
    coordinator: Arc<Coordinator>,
    in_use: Mutex<InUse>,
}

struct InUse {
    config: Config,
    /// Not the configured one, once an operator has set it.
    log_level: String,
}

impl Reloader {
    pub(super) fn new(
        config: Config,
        source: Option<ConfigSource>,
        admission: Arc<Admission>,
        coordinator: Arc<Coordinator>,
    ) -> Self {
        let log_level = config.telemetry.log_level.as_str().to_owned();
        Self {
            source,
            admission,
            coordinator,
            in_use: Mutex::new(InUse { config, log_level }),
        }
    }

    /// Reads the configuration again and puts into use what may change.
    ///
    /// # Errors
    /// [`ReloadError`]; then nothing has changed.
    pub(super) fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut in_use = self.in_use();
        let source = self.source.as_ref().ok_or(ReloadError::NoSource)?;
        let config = source()?;
        let reloaded = in_use.differences(&config);
        let log_level = config.telemetry.log_level.as_str();
        if in_use.log_level != log_level {
            // The only one that can fail comes first.
            logs::set_filter(log_level)?;
            log_level.clone_into(&mut in_use.log_level);
        }
        let limits = config.server.limits;
        self.admission
            .limit(limits.max_concurrent_requests, limits.cpu_threshold);
        self.coordinator.tune(tuning(&config));
        in_use.take(config);
        Ok(reloaded)
    }

    /// Logs by this level, or these directives, from now on. Returns what was in use before.
    ///
    /// # Errors
    /// It is neither a level nor directives.
    pub(super) fn set_log_level(&self, level: &str) -> Result<String, LogsError> {
        let mut in_use = self.in_use();
        logs::set_filter(level)?;
        Ok(std::mem::replace(&mut in_use.log_level, level.to_owned()))
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InUse {
    fn differences(&self, config: &Config) -> Reloaded {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        leaves(&as_value(&self.config), "", &mut before);
        leaves(&as_value(config), "", &mut after);
        let mut reloaded = Reloaded::default();
        for (path, after) in after {
            let used = before.iter().find(|(other, _)| *other == path);
            let before = if path == LOG_LEVEL {
                self.log_level.clone()
            } else {
                used.map_or_else(|| "not set".to_owned(), |(_, value)| value.clone())
            };
            if before == after {
                continue;
            }
            let list = if LIVE.contains(&path.as_str()) {
                &mut reloaded.changed
            } else {
                &mut reloaded.restart_needed
            };
            list.push(Change {
                path,
                before,
                after,
            });
        }
        reloaded
    }

    /// What needs a restart stays as it is, so that the next reload tells of it again.
    fn take(&mut self, config: Config) {
        let own = &mut self.config;
        own.telemetry.log_level = config.telemetry.log_level;
        own.client.hedging = config.client.hedging;
        own.server.cache.default_ttl = config.server.cache.default_ttl;
        let (limits, next) = (&mut own.server.limits, config.server.limits);
        limits.cpu_threshold = next.cpu_threshold;
        limits.max_concurrent_requests = next.max_concurrent_requests;
    }
}

/// The coordinator's settings that may change.
pub(super) fn tuning(config: &Config) -> Tuning {
    let (hedging, default_ttl) = (config.client.hedging, config.server.cache.default_ttl);
    Tuning {
        default_ttl: (!default_ttl.is_zero()).then_some(default_ttl),
        hedge_after: hedging.enabled.then_some(hedging.timeout),
        hedge_ratio: hedging.ratio,
    }
}

fn as_value(config: &Config) -> Value {
    // Everything in it has a form in JSON, as `config print` shows.
    serde_json::to_value(config).unwrap_or_default()
}

/// Every field with its value in words; a list is one value.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let separator = if path.is_empty() { "" } else { "." };
                leaves(value, &format!("{path}{separator}{name}"), found);
            }
        }
        Value::Null => found.push((path.to_owned(), "not set".to_owned())),
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            found.push((path.to_owned(), value.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn in_use() -> InUse {
        InUse {
            config: Config::default(),
            log_level: "debug".to_owned(),
        }
    }

    fn paths(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.path.as_str()).collect()
    }

    #[test]
    fn what_may_change_is_told_apart_from_what_needs_a_restart() {
        let mut config = Config::default();
        config.server.cache.default_ttl = Duration::from_secs(60);
        config.server.grpc.port = 9090;
        let found = in_use().differences(&config);
        assert_eq!(
            paths(&found.changed),
            ["server.cache.default_ttl", LOG_LEVEL]
        );
        assert_eq!(found.changed[0].after, "1m");
        assert_eq!(found.changed[1].before, "debug");
        assert_eq!(paths(&found.restart_needed), ["server.grpc.port"]);
        assert_eq!(found.restart_needed[0].after, "9090");
    }

    #[test]
    fn what_needs_a_restart_is_told_again_and_what_was_put_into_use_is_not() {
        let mut config = Config::default();
        config.client.hedging.enabled = false;
        config.client.hedging.ratio = 0.5;
        config.server.limits.max_concurrent_requests = 7;
        config.server.limits.cpu_threshold = 0.5;
        config.server.threads = 3;
        let mut in_use = in_use();
        in_use.take(config.clone());
        "info".clone_into(&mut in_use.log_level);
        let found = in_use.differences(&config);
        assert_eq!(paths(&found.changed), [""; 0]);
        assert_eq!(paths(&found.restart_needed), ["server.threads"]);
    }

    #[test]
    fn all_live_fields_exist() {
        let mut fields = Vec::new();
        leaves(&as_value(&Config::default()), "", &mut fields);
        for path in LIVE {
            assert!(fields.iter().any(|(field, _)| field == path), "{path}");
        }
    }
}
