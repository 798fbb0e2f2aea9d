//! Loading: what is accepted, what wins, and how a refusal reads.

use std::{net::IpAddr, path::Path, time::Duration};

use super::*;

const ORIGINAL_SERVER: &str = "\
server:
  grpc:
    port: 8080
  http:
    port: 8081
  cache:
    capacity: 10000
    default_ttl: 3600s
  limits:
    max_concurrent_requests: 1000
    cpu_threshold: 0.9
    cpu_window: 10s
";

const ORIGINAL_CLIENT: &str = "\
client:
  quorum:
    read_quorum: 2
    write_quorum: 2
  hedging:
    enabled: true
    timeout: 100ms
    ratio: 0.1
";

/// Loads a text as the file, with the given variables and flags.
fn load_text(
    text: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let file = ConfigFile::parse(Path::new("node.yaml"), text.to_owned())?;
    let variables = variables
        .iter()
        .map(|&(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    let flags: Vec<_> = flags
        .iter()
        .map(|&(name, text)| Flag::of_twin(name, text).unwrap())
        .collect();
    let mut overrides = overrides::of_environment(&variables).map_err(all)?;
    overrides.extend(overrides::of_flags(&flags).map_err(all)?);
    let layers = Layers {
        file: Some(file),
        overrides,
    };
    let config = layers.merge()?;
    layers.check(&config)?;
    Ok(Loaded {
        config,
        origins: layers.origins(),
    })
}

fn config_of(text: &str) -> Config {
    load_text(text, &[], &[])
        .unwrap_or_else(|error| panic!("{error}"))
        .config
}

fn refusal(text: &str) -> String {
    load_text(text, &[], &[]).unwrap_err().to_string()
}

#[test]
fn the_original_configuration_parses_as_it_is_and_is_the_default() {
    let both = format!("{ORIGINAL_SERVER}{ORIGINAL_CLIENT}");
    for text in [ORIGINAL_SERVER, ORIGINAL_CLIENT, &both] {
        assert_eq!(config_of(text), Config::default());
    }
}

#[test]
fn an_empty_file_and_a_file_of_comments_mean_the_defaults() {
    for text in ["", "\n\n", "# nothing\n", "---\n# nothing\n"] {
        assert_eq!(config_of(text), Config::default(), "{text:?}");
    }
}

#[test]
fn one_field_may_be_set_alone() {
    let config = config_of("server:\n  grpc:\n    port: 9090\n");
    assert_eq!(config.server.grpc.port, 9090);
    assert_eq!(config.server.http, Config::default().server.http);
}

#[test]
fn units_and_single_elements_are_understood() {
    let config = config_of(
        "server:\n  bind: '::1'\n  cache:\n    max_memory: 512MiB\n    default_ttl: 60\n\
         cluster:\n  seeds: node1:7946\n",
    );
    assert_eq!(config.server.bind, ["::1".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.server.cache.max_memory, Some(512 << 20));
    assert_eq!(config.server.cache.default_ttl, Duration::from_secs(60));
    assert_eq!(config.cluster.seeds, ["node1:7946"]);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_the_accepted_keys_and_a_suggestion() {
    let text = ORIGINAL_SERVER.replace("cpu_threshold", "cpu_treshold");
    let error = refusal(&text);
    assert!(
        error.starts_with("node.yaml:11:5: unknown key `cpu_treshold`"),
        "{error}"
    );
    assert!(
        error.contains("   11 |     cpu_treshold: 0.9\n      |     ^"),
        "{error}"
    );
    assert!(
        error.contains("accepted: max_concurrent_requests, cpu_threshold"),
        "{error}"
    );
    assert!(error.contains("did you mean `cpu_threshold`?"), "{error}");
}

#[test]
fn a_key_in_the_wrong_section_is_told_where_it_belongs() {
    let error = refusal("cluster:\n  max_memory: 1GiB\n");
    assert!(
        error.contains("did you mean `server.cache.max_memory`?"),
        "{error}"
    );
}

#[test]
fn bad_values_are_refused_with_their_place_and_what_is_accepted() {
    for (text, place, accepted) in [
        (
            "server:\n  grpc:\n    port: 70000\n",
            "node.yaml:3:11: ",
            "from 0 to 65535",
        ),
        (
            "server:\n  grpc:\n    port: -1\n",
            "node.yaml:3:11: ",
            "from 0 to 65535",
        ),
        (
            "server:\n  grpc:\n    port: http\n",
            "node.yaml:3:11: ",
            "from 0 to 65535",
        ),
        (
            "server:\n  cache:\n    capacity: 0\n",
            "node.yaml:3:15: ",
            "from 1 to",
        ),
        (
            "server:\n  cache:\n    default_ttl: 3 parsecs\n",
            "node.yaml:3:18: ",
            "such as 3600s",
        ),
        (
            "server:\n  cache:\n    max_memory: many\n",
            "node.yaml:3:17: ",
            "such as 512MiB",
        ),
        (
            "server:\n  limits:\n    cpu_threshold: 1.5\n",
            "node.yaml:3:20: ",
            "up to 1",
        ),
        (
            "cluster:\n  slots: 0\n",
            "node.yaml:2:10: ",
            "from 1 to 65535",
        ),
        (
            "cluster:\n  slots: 65536\n",
            "node.yaml:2:10: ",
            "from 1 to 65535",
        ),
        (
            "telemetry:\n  log_level: loud\n",
            "node.yaml:2:14: ",
            "accepted: off, error, warn",
        ),
        (
            "server:\n  advertise: 'a b'\n",
            "node.yaml:2:14: ",
            "host:port",
        ),
        (
            "server:\n  bind: nowhere\n",
            "node.yaml:2:9: ",
            "IP address",
        ),
        ("server:\n  reflection: maybe\n", "node.yaml:2:15: ", "bool"),
    ] {
        let error = refusal(text);
        assert!(error.starts_with(place), "{text}: {error}");
        assert!(error.contains(accepted), "{text}: {error}");
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let error = refusal("server:\n  grpc:\n    port: 1\n  grpc:\n    port: 2\n");
    assert!(error.starts_with("node.yaml:4:3: "), "{error}");
    assert!(error.contains("second time"), "{error}");
}

#[test]
fn a_broken_rule_is_shown_at_the_line_that_breaks_it() {
    let error = refusal("client:\n  quorum:\n    read_quorum: 1\n");
    assert!(
        error.starts_with("node.yaml:3:18: client.quorum.read_quorum: "),
        "{error}"
    );
    assert!(error.contains("read_quorum 1 + write_quorum 2"), "{error}");
}

#[test]
fn every_broken_rule_is_reported_at_once() {
    let error = load_text("cluster:\n  replication_factor: 5\n", &[], &[]).unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file_and_that_over_the_defaults() {
    let text = "server:\n  grpc:\n    port: 1\n  http:\n    port: 2\n  gossip:\n    port: 3\n";
    let variables = [
        ("SHARD_CACHE_HTTP_PORT", "12"),
        ("SHARD_CACHE__SERVER__GOSSIP__PORT", "13"),
    ];
    let loaded = load_text(text, &variables, &[("gossip-port", "23")]).unwrap();
    let server = &loaded.config.server;
    assert_eq!(
        (server.grpc.port, server.http.port, server.gossip.port),
        (1, 12, 23)
    );
    let origin = |path: &str| loaded.origins.get(path).map(ToString::to_string);
    assert_eq!(
        origin("server.grpc.port").as_deref(),
        Some("node.yaml:3:11")
    );
    assert_eq!(
        origin("server.http.port").as_deref(),
        Some("environment variable SHARD_CACHE_HTTP_PORT")
    );
    assert_eq!(
        origin("server.gossip.port").as_deref(),
        Some("flag --gossip-port")
    );
    assert_eq!(origin("server.cache.capacity"), None);
}

#[test]
fn overrides_of_every_kind_are_understood() {
    let variables = [
        ("SHARD_CACHE__SERVER__REFLECTION", "false"),
        ("SHARD_CACHE__SERVER__LIMITS__CPU_THRESHOLD", "0.5"),
        ("SHARD_CACHE__SERVER__CACHE__MAX_MEMORY", "64MiB"),
        ("SHARD_CACHE__SERVER__CACHE__DEFAULT_TTL", "5"),
        ("SHARD_CACHE_SEED", "a:1, b:2"),
        ("SHARD_CACHE_MIN_MEMBERS", "3"),
        ("SHARD_CACHE_NODE_NAME", "17"),
        ("SHARD_CACHE_BIND", "::"),
        ("SHARD_CACHE_LOG_LEVEL", "debug"),
        ("SHARD_CACHE_ENDPOINT", "not ours to read"),
    ];
    let config = load_text("", &variables, &[]).unwrap().config;
    assert!(!config.server.reflection);
    assert_eq!(
        config.server.limits.cpu_threshold.to_bits(),
        0.5f64.to_bits()
    );
    assert_eq!(config.server.cache.max_memory, Some(64 << 20));
    assert_eq!(config.server.cache.default_ttl, Duration::from_secs(5));
    assert_eq!(config.cluster.seeds, ["a:1", "b:2"]);
    assert_eq!(config.cluster.first_ring_members(), 3);
    assert_eq!(config.node_name(7946), "17");
    assert_eq!(config.server.bind, ["::".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.telemetry.log_level.as_str(), "debug");
}

#[test]
fn an_empty_variable_unsets_an_optional_field() {
    let text = "node:\n  name: a\n";
    let config = load_text(text, &[("SHARD_CACHE_NODE_NAME", "")], &[])
        .unwrap()
        .config;
    assert_eq!(config.node.name, None);
}

#[test]
fn a_bad_override_is_refused_by_name() {
    let error = load_text("", &[("SHARD_CACHE_GRPC_PORT", "70000")], &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("environment variable SHARD_CACHE_GRPC_PORT: server.grpc.port: "),
        "{error}"
    );
    assert!(error.contains("from 0 to 65535"), "{error}");
    let error = load_text("", &[], &[("log-level", "loud")])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("flag --log-level: telemetry.log_level: "),
        "{error}"
    );
    assert!(error.contains("`debug`"), "{error}");
}

#[test]
fn a_nested_variable_that_names_no_field_is_refused_by_name() {
    for (name, suggestion) in [
        (
            "SHARD_CACHE__SERVER__GRPC__PROT",
            "SHARD_CACHE__SERVER__GRPC__PORT",
        ),
        (
            "SHARD_CACHE__SERVER__GRPC",
            "SHARD_CACHE__SERVER__GRPC__PORT",
        ),
        (
            "SHARD_CACHE__CLUSTER__MAX_MEMORY",
            "SHARD_CACHE__SERVER__CACHE__MAX_MEMORY",
        ),
    ] {
        let error = load_text("", &[(name, "1")], &[]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("environment variable {name}: ")),
            "{error}"
        );
        assert!(error.contains(suggestion), "{error}");
    }
}

#[test]
fn a_kubernetes_service_link_is_recognised() {
    let variables = [("SHARD_CACHE_GRPC_PORT", "tcp://10.0.0.1:8080")];
    let error = load_text("", &variables, &[]).unwrap_err().to_string();
    assert!(error.contains("enableServiceLinks"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let sources = Sources {
        file: Some("/nowhere/node.yaml".into()),
        ..Sources::default()
    };
    let error = load(sources).unwrap_err().to_string();
    assert!(
        error.starts_with("/nowhere/node.yaml: cannot be read: "),
        "{error}"
    );
}

#[test]
fn the_default_of_min_members_follows_the_seeds() {
    assert_eq!(config_of("").cluster.first_ring_members(), 1);
    assert_eq!(
        config_of("cluster:\n  seeds: [a:1]\n")
            .cluster
            .first_ring_members(),
        2
    );
}

#[test]
fn a_node_without_a_name_is_called_after_its_host_and_its_bound_port() {
    let name = config_of("").node_name(7999);
    assert!(name.ends_with(":7999") && name.len() > 5, "{name}");
}

#[test]
fn opentelemetry_variables_win_over_the_file_and_ours_win_over_them() {
    let file = "telemetry:\n  traces:\n    endpoint: http://file:1\n    ratio: 0.5\n";
    let load = |variables: &[(&str, &str)]| {
        let loaded = load_text(file, variables, &[]).unwrap_or_else(|error| panic!("{error}"));
        loaded.config.telemetry.traces
    };
    let generic = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://generic:2");
    let traces = load(&[
        generic,
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=cache,place=a%20b"),
        ("OTEL_SERVICE_NAME", ""),
    ]);
    assert_eq!(traces.endpoint.as_deref(), Some("http://generic:2"));
    assert_eq!(traces.sampler, crate::config::TracesSampler::TraceIdRatio);
    assert_eq!(traces.ratio, 0.25);
    assert_eq!(traces.flush_interval, Duration::from_millis(200));
    assert_eq!(traces.service_name, None);
    let attributes: Vec<_> = traces.attributes().collect();
    assert_eq!(
        attributes,
        [("team", "cache".to_owned()), ("place", "a b".to_owned())]
    );

    let specific = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:3");
    let traces = load(&[generic, specific]);
    assert_eq!(traces.endpoint.as_deref(), Some("http://traces:3"));
    assert_eq!(traces.ratio, 0.5);
    let ours = (
        "SHARD_CACHE__TELEMETRY__TRACES__ENDPOINT",
        "http://our-own:4",
    );
    let traces = load(&[generic, specific, ours]);
    assert_eq!(traces.endpoint.as_deref(), Some("http://our-own:4"));

    assert!(!load(&[("OTEL_SDK_DISABLED", "TRUE")]).enabled);
    let switches = [
        ("OTEL_SDK_DISABLED", "false"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ];
    assert!(!load(&switches).enabled);
    let off = ("OTEL_SDK_DISABLED", "true");
    let foreign = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");
    assert!(!load(&[off, foreign, ("OTEL_TRACES_SAMPLER", "jaeger_remote")]).enabled);
    // Meant for another program when nothing is exported from here.
    assert!(load(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).enabled);
}

#[test]
fn wrong_opentelemetry_variables_are_refused_by_name() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    for (name, text, told) in [
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "from 0 to 1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s", "milliseconds"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100", "batch_spans_max"),
        ("OTEL_SDK_DISABLED", "maybe", "true or false"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "only grpc"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://collector",
            "TLS is not supported",
        ),
        ("OTEL_RESOURCE_ATTRIBUTES", "team", "name=value"),
    ] {
        let refused = load_text("", &[endpoint, (name, text)], &[]).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains(told), "{name}: {refused}");
        let by_name = refused.contains(&format!("environment variable {name}"));
        assert!(by_name || told == "batch_spans_max", "{name}: {refused}");
    }
}
