//! From defaults, file, environment and flags to a checked [`Config`].
//!
//! The file is parsed into the typed tree first, so that its errors have a line and a column. Overrides are then put
//! into the tree by path, and the whole is read into the typed tree again, so that an override obeys the same rules as
//! the file; what is wrong then is reported with the variable or flag that gave it.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    check, environment,
    error::{ConfigError, Origin, Place, Problem},
    file::ConfigFile,
    model::Config,
    overrides::{self, Flag, Override},
    reference,
};

/// Names the file when no flag does.
const FILE_VARIABLE: &str = "SHARD_CACHE_CONFIG";

/// Where values may come from, beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; `None` takes the one that `SHARD_CACHE_CONFIG` names, if any.
    pub file: Option<PathBuf>,
    /// Environment variables by name; those that begin neither with `SHARD_CACHE_` nor `OTEL_` are
    /// ignored.
    pub environment: BTreeMap<String, String>,
    /// Flags, in the order given.
    pub flags: Vec<Flag>,
}

/// A checked configuration and where its values come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where each value comes from, by path; what is not named here is a default.
    pub origins: BTreeMap<String, Origin>,
}

/// As [`load`], with the environment of this process.
///
/// # Errors
/// See [`load`].
pub fn load_system(file: Option<PathBuf>, flags: Vec<Flag>) -> Result<Loaded, ConfigError> {
    load(Sources {
        file,
        environment: environment::variables(),
        flags,
    })
}

/// Loads and checks a configuration. Precedence: defaults < file < environment < flags.
///
/// # Errors
/// Everything that is wrong, with its place: a file that cannot be read or parsed (the first problem in it), unknown
/// paths, values of the wrong form, and all broken rules between fields.
pub fn load(sources: Sources) -> Result<Loaded, ConfigError> {
    let named = sources
        .environment
        .get(FILE_VARIABLE)
        .filter(|name| !name.is_empty());
    let file = match sources.file.or_else(|| named.map(PathBuf::from)) {
        Some(file) => Some(ConfigFile::read(&file)?),
        None => None,
    };
    let mut overrides = overrides::of_environment(&sources.environment).map_err(all)?;
    overrides.extend(overrides::of_flags(&sources.flags).map_err(all)?);
    let layers = Layers { file, overrides };
    let config = layers.merge()?;
    layers.check(&config)?;
    Ok(Loaded {
        config,
        origins: layers.origins(),
    })
}

fn all(problems: Vec<Problem>) -> ConfigError {
    ConfigError { problems }
}

struct Layers {
    file: Option<ConfigFile>,
    overrides: Vec<Override>,
}

impl Layers {
    fn merge(&self) -> Result<Config, ConfigError> {
        let base = self
            .file
            .as_ref()
            .map_or_else(Config::default, |file| file.config.clone());
        if self.overrides.is_empty() {
            return Ok(base);
        }
        let defaults = to_value(&Config::default());
        let mut tree = to_value(&base);
        for given in &self.overrides {
            overrides::apply(&mut tree, &defaults, given);
        }
        serde_path_to_error::deserialize(&tree).map_err(|error| {
            let path = error.path().to_string();
            let path = path.split('[').next().unwrap_or_default();
            let mut problem = Problem::new(self.place(path), error.inner().to_string());
            problem.path = Some(path.to_owned());
            if self.is_service_link(path) {
                problem.message.push_str(
                    " (this looks like a Kubernetes service link: set enableServiceLinks: false in the pod)",
                );
            }
            problem.into()
        })
    }

    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let problems: Vec<_> = check::check(config)
            .into_iter()
            .map(|violation| Problem {
                path: Some(violation.path.to_owned()),
                ..Problem::new(self.place(violation.path), violation.message)
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(all(problems))
        }
    }

    fn origin(&self, path: &str) -> Origin {
        let overridden = self.overrides.iter().rev().find(|given| given.path == path);
        overridden
            .map(|given| given.origin.clone())
            .or_else(|| self.file.as_ref().and_then(|file| file.origin(path)))
            .unwrap_or(Origin::Default)
    }

    fn place(&self, path: &str) -> Place {
        let origin = self.origin(path);
        match &self.file {
            Some(file) => file.place(origin),
            None => Place::Value {
                origin,
                line_text: None,
            },
        }
    }

    fn origins(&self) -> BTreeMap<String, Origin> {
        reference::fields()
            .map(|path| (path.to_owned(), self.origin(path)))
            .filter(|(_, origin)| *origin != Origin::Default)
            .collect()
    }

    /// Whether the value of a path looks like one of the variables that Kubernetes gives every container, such as
    /// `SHARD_CACHE_GRPC_PORT=tcp://10.0.0.1:8080` for a service called `shard-cache-grpc`.
    fn is_service_link(&self, path: &str) -> bool {
        let given = self.overrides.iter().rev().find(|given| given.path == path);
        given.is_some_and(|given| given.text.contains("://"))
    }
}

fn to_value(config: &Config) -> Value {
    serde_json::to_value(config).expect("the tree has text keys and finite numbers only")
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
