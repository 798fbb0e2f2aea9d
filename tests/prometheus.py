#!/usr/bin/env python3
"""Checks metrics, alerts and dashboards against a real Prometheus that scrapes three nodes of the debug binary.

    prometheus.py [--binary PATH]

- promtool accepts what the nodes say, deploy/prometheus and its unit tests.
- What is exported is what docs/metrics.md lists, and what documents, rules and dashboards name exists.
- Every expression of rules and dashboards is answered without error, and with data where there must be some.
- A sampled request comes back as an exemplar; one that is not sampled never does.
- Every alert has a runbook, and the commands in it work.

Takes prometheus and promtool from the PATH, or unpacks Debian's package `prometheus` into the target directory. Where
neither is possible it says so and ends; in CI (CI=true) that is a failure. One line per check, then "N passed, M failed".
"""

import argparse
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True

import run  # noqa: E402

ROOT = run.ROOT
DEPLOY = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RUNBOOKS = ROOT / "docs" / "runbooks"
# Where names of metrics stand, with their prefix or, in documents, without.
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMING = [*DOCUMENTS, DEPLOY / "rules.yml", DEPLOY / "rules_test.yml", *DASHBOARDS]
JOB = "shard-cache"
PREFIX = "shardcache_"
NODES = 3
SCRAPES_MIN = 20
SAMPLED = 20
# Ended with the checks; longer than they take on a busy machine.
LOAD_SECONDS = 240
DEADLINE_SECONDS = 90
COMMAND_SECONDS = 60
# Grafana's variables, as a dashboard that was just opened has them.
VARIABLES = {"$__rate_interval": "10s", "$job": JOB, "$instance": ".*"}
# Commands of runbooks that change something: only their form is checked.
CHANGING = re.compile(r"\b(forget|accept-losses|drain|drop)\b")
SUFFIXES = ("_bucket", "_sum", "_count")
# Endings of names in documents that look like metrics: fields of messages, and of the simulator's scenarios.
NO_METRICS = ("value_bytes", "hint_bytes", "memory_bytes", "tombstone_bytes", "queue_bytes")


class Cluster:
    """Three local nodes that record the requests that their callers have sampled, and no others."""

    def __init__(self, binary: pathlib.Path, folder: pathlib.Path) -> None:
        self.binary = binary
        own = {name: text for name, text in os.environ.items() if not name.startswith(("SHARD_CACHE", "OTEL_"))}
        # Nobody takes the spans: recording and exemplars do not depend on that.
        self.environment = own | {
            "SHARD_CACHE_LOCAL_DIR": str(folder / "cluster"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        }
        self.nodes: list[dict] = []

    def local(self, *arguments: str) -> str:
        return output(self.binary, "local", *arguments, environment=self.environment)

    def start(self) -> None:
        self.local("up", "-n", str(NODES), "--ports", "auto")
        self.nodes = json.loads(self.local("status", "-o", "json"))

    def http(self, node: int) -> str:
        return f"127.0.0.1:{self.nodes[node]['http_port']}"

    def scrape(self, node: int, accept: str) -> str:
        return fetch(f"http://{self.http(node)}/metrics", {"Accept": accept})

    def load(self) -> subprocess.Popen:
        """Reads and writes over gRPC, until it has ended or is ended."""
        endpoints = ",".join(f"127.0.0.1:{node['grpc_port']}" for node in self.nodes)
        return subprocess.Popen(
            [self.binary, "bench", "mixed", "--endpoint", endpoints, "--rate", "200", "--keys", "1000",
             "--duration", f"{LOAD_SECONDS}s", "-o", "json"],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def request(self, node: int, key: str, sampled: bool) -> str:
        """Writes and reads a key under a trace of its own, which is returned."""
        trace = secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"}
        url = f"http://{self.http(node)}/v1/keys/{key}?timeout=10s"
        fetch(url, headers, b"value")
        assert fetch(url, headers) == "value"
        return trace


class Prometheus:
    """A running Prometheus."""

    def __init__(self, tool: pathlib.Path, folder: pathlib.Path, targets: list[str]) -> None:
        self.port = free_port()
        config = folder / "prometheus.json"
        # JSON is YAML. The rules are the shipped ones; only targets and intervals are others.
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(DEPLOY / "rules.yml")],
            "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": targets}]}],
        }))
        self.log = folder / "prometheus.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [tool, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--enable-feature=exemplar-storage"],
                cwd=folder, stdout=log, stderr=subprocess.STDOUT)

    def ask(self, path: str, **parameters: str) -> object:
        """The data of an answer of the API; raises what it says of an error."""
        query = urllib.parse.urlencode(parameters)
        try:
            answer = json.loads(fetch(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}"))
        except urllib.error.HTTPError as error:
            answer = json.loads(error.read())
        if answer["status"] != "success":
            raise RuntimeError(f"{parameters}: {answer.get('error')}")
        return answer["data"]

    def query(self, expression: str) -> list:
        return self.ask("query", query=expression)["result"]

    def await_scrapes(self) -> None:
        """Until every node has been scraped often enough for rates."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        scraped: list = []
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"Prometheus ended:\n{self.log.read_text()}")
            try:
                scraped = self.query(f'sum_over_time(up{{job="{JOB}"}}[1h]) >= {SCRAPES_MIN}')
            except OSError:
                scraped = []
            if len(scraped) == NODES:
                return
            time.sleep(0.5)
        raise RuntimeError(f"scraped often enough after {DEADLINE_SECONDS} s: {scraped}")

    def stop(self) -> None:
        end(self.process)


def end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> str:
    method = "GET" if body is None else "PUT"
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def output(*command: object, environment: dict[str, str] | None = None, given: str = "") -> str:
    """What a command prints; raises with what it complains about when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, input=given, capture_output=True,
                          text=True, timeout=COMMAND_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} exited with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def find_tools() -> dict[str, pathlib.Path]:
    """prometheus and promtool. Raises where they can be neither found nor fetched."""
    names = ("prometheus", "promtool")
    found = {name: shutil.which(name) for name in names}
    if all(found.values()):
        return {name: pathlib.Path(path) for name, path in found.items()}
    kept = run.binary().parent.parent / "tools" / "prometheus"
    tools = {name: kept / "usr" / "bin" / name for name in names}
    if not all(tool.exists() for tool in tools.values()):
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise RuntimeError("prometheus is not on the PATH, and this is no Debian to fetch its package from")
        # Unpacked and not installed: no service starts.
        with tempfile.TemporaryDirectory(prefix="shard-cache-prometheus-") as folder:
            kept.mkdir(parents=True, exist_ok=True)
            output("dpkg", "-x", fetch_package(pathlib.Path(folder)), kept)
    return tools


def fetch_package(folder: pathlib.Path) -> pathlib.Path:
    """Debian's package, downloaded into a folder. The list of packages is fetched where it is missing or too old."""
    def apt(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["apt-get", "-qq", *arguments], cwd=folder, capture_output=True, text=True,
                              timeout=5 * COMMAND_SECONDS, check=False)

    fetched = apt("download", "prometheus")
    if fetched.returncode != 0 and os.geteuid() == 0:
        apt("update")
        fetched = apt("download", "prometheus")
    packages = list(folder.glob("*.deb"))
    if fetched.returncode != 0 or not packages:
        raise RuntimeError(f"the package prometheus cannot be fetched: {fetched.stderr.strip()}")
    return packages[0]


def described(cluster: Cluster) -> dict[str, dict]:
    """Every metric that the program documents, by name."""
    document = json.loads(output(cluster.binary, "metrics", "-o", "json"))
    return {metric["name"]: metric for metric in document["metrics"]}


def check_format(cluster: Cluster, promtool: pathlib.Path) -> None:
    text = cluster.scrape(0, "text/plain")
    output(promtool, "check", "metrics", given=text)


def check_deployment(promtool: pathlib.Path) -> None:
    output(promtool, "check", "config", DEPLOY / "prometheus.yml")
    output(promtool, "check", "rules", DEPLOY / "rules.yml")
    # Its rule file is relative to it.
    done = subprocess.run([promtool, "test", "rules", "rules_test.yml"], cwd=DEPLOY, capture_output=True, text=True,
                          timeout=COMMAND_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_documented(cluster: Cluster, metrics: dict[str, dict]) -> None:
    documented = {(name, metric["type"]) for name, metric in metrics.items()}
    for node in range(NODES):
        text = cluster.scrape(node, "text/plain")
        exported = set(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        assert exported == documented, f"node {node + 1}: {sorted(exported ^ documented)}"
    written = (ROOT / "docs" / "metrics.md").read_text()
    assert written == output(cluster.binary, "metrics"), "docs/metrics.md is not what `shard-cache metrics` writes"


def family_of(name: str, metrics: dict[str, dict]) -> str | None:
    if name in metrics:
        return name
    stems = [name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)]
    return next((stem for stem in stems if metrics.get(stem, {}).get("type") == "histogram"), None)


def check_names(metrics: dict[str, dict]) -> None:
    wrong = []
    for path in NAMING:
        text, shown = path.read_text(), path.relative_to(ROOT)
        # With a colon before it, it is part of a recorded series; with an underscore at the end, of a pattern.
        names = set(re.findall(r"(?<![:\w])shardcache_\w*[a-z0-9](?![\w:])", text))
        wrong += [f"{shown}: {name}" for name in sorted(names) if family_of(name, metrics) is None]
    for path in DOCUMENTS:
        shown = path.relative_to(ROOT)
        for name, braces, labels in re.findall(r"`([a-z][a-z0-9_]*)(\{([^}`]*)\})?`", path.read_text()):
            full = next((it for it in (PREFIX + name, name) if it in metrics), None)
            if full is None:
                if re.search(r"_(total|seconds|bytes|ratio)$", name) and not name.endswith(NO_METRICS):
                    wrong.append(f"{shown}: {name}")
            elif braces:
                wrong += [f"{shown}: {name} has no {label}" for label in unknown_labels(labels, metrics[full])]
    assert not wrong, "\n".join(["named, but not exported:", *wrong])


def unknown_labels(text: str, metric: dict) -> list[str]:
    """Labels, and values of labels, that a metric does not have."""
    unknown = []
    for part in filter(None, text.split(",")):
        label, _, value = part.partition("=")
        values = metric["labels"].get(label.strip())
        if values is None or (value and values and value.strip('"') not in values):
            unknown.append(part)
    return unknown


def check_rules(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 20, f"{len(rules)} rules"
    wrong = []
    for rule in rules:
        if rule["health"] != "ok":
            wrong.append(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
        found = prometheus.query(rule["query"])
        if rule["type"] == "recording" and not found:
            wrong.append(f"{rule['name']}: no data")
        if rule["type"] == "alerting" and rule["state"] == "firing":
            wrong.append(f"{rule['name']} fires on nodes that are well: {found}")
    assert not wrong, "\n".join(wrong)


def expressions(dashboard: dict) -> list[tuple[str, str]]:
    """Title and expression of every query of a dashboard."""
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", [])]


def filled_in(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"a variable without a value: {expression}"
    return expression


def check_dashboards(prometheus: Prometheus) -> None:
    wrong, uids = [], set()
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        uids.add(dashboard["uid"])
        for title, expression in expressions(dashboard):
            if not prometheus.query(filled_in(expression)):
                wrong.append(f"{path.name}, {title}: no data for {expression}")
        for annotation in dashboard["annotations"]["list"]:
            prometheus.query(filled_in(annotation.get("expr", "up")))
        sources = [variable for variable in dashboard["templating"]["list"] if variable["type"] == "datasource"]
        assert [source["name"] for source in sources] == ["datasource"], f"{path.name}: no variable for its source"
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            assert asked, variable["definition"]
            values = prometheus.ask(f"label/{asked[2]}/values", **{"match[]": filled_in(asked[1])})
            assert values, f"{path.name}: ${variable['name']} has no values"
    assert len(uids) == len(DASHBOARDS) == 3, f"{uids}"
    assert not wrong, "\n".join(wrong)


def check_exemplars(cluster: Cluster, prometheus: Prometheus, sampled: set[str], unsampled: set[str]) -> None:
    now = time.time()
    found = prometheus.ask("query_exemplars", query="shardcache_request_duration_seconds_bucket",
                           start=str(now - DEADLINE_SECONDS * 2), end=str(now))
    traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert traces, "no exemplars"
    assert traces <= sampled, f"exemplars of traces that were not sampled: {traces - sampled}, {unsampled & traces}"
    text = cluster.scrape(0, "application/openmetrics-text;version=1.0.0")
    assert text.endswith("# EOF\n"), text[-100:]
    assert any(trace in text for trace in sampled), "the node itself shows no exemplar"
    assert "trace_id" not in cluster.scrape(0, "text/plain"), "classic text has exemplars"


def check_runbooks(cluster: Cluster, folder: pathlib.Path) -> None:
    rules = (DEPLOY / "rules.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    urls = re.findall(r"runbook_url: \S+/docs/runbooks/(\w+)\.md", rules)
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
    assert alerts == urls and set(alerts) == pages, f"{set(alerts) ^ pages}, {set(urls) ^ pages}"
    index = (RUNBOOKS / "README.md").read_text()
    stage = folder / "stage"
    stage.mkdir()
    (stage / "shard-cache").symlink_to(cluster.binary)
    (stage / "deploy").symlink_to(ROOT / "deploy")
    for alert in alerts:
        text = (RUNBOOKS / f"{alert}.md").read_text()
        assert f"({alert}.md)" in index, f"{alert} is not in the list of runbooks"
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert headings == ["Meaning", "Impact", "Check", "Fix", "Escalate when"], f"{alert}: {headings}"
        blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        inline = re.findall(r"`(\./shard-cache [^`]*)`", text)
        for command in [*(line for block in blocks for line in block.splitlines()), *inline]:
            check_command(cluster, stage, alert, command)


def check_command(cluster: Cluster, stage: pathlib.Path, alert: str, command: str) -> None:
    """A command is one that a person would type: it works, or at least has the form that the program accepts."""
    node = cluster.nodes[0]
    asked = command.replace("localhost:8080", f"127.0.0.1:{node['grpc_port']}")
    asked = asked.replace("localhost:8081", f"127.0.0.1:{node['http_port']}")
    # `safe-to-stop` and `--exit-code` tell by their exit code, too.
    accepted = {0, 3, 6}
    if CHANGING.search(asked):
        asked = f"{asked} --help"
    elif asked.startswith("./shard-cache") and "127.0.0.1" not in asked and "config" not in asked:
        asked = f"{asked} --endpoint 127.0.0.1:{node['grpc_port']}"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {asked}"], cwd=stage, env=cluster.environment,
                          capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    assert done.returncode in accepted and done.stdout, f"{alert}: `{command}` exited with {done.returncode}: {done.stderr}"


class Tally:
    """What passed and failed so far, told as it happens."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, what: str, action, *arguments) -> None:
        began = time.monotonic()
        try:
            action(*arguments)
        except (AssertionError, RuntimeError, KeyError, ValueError, subprocess.SubprocessError, OSError) as error:
            self.failed += 1
            print(f"FAILED  {what}: {error}", flush=True)
            return
        self.passed += 1
        print(f"ok      {what} ({time.monotonic() - began:.1f} s)", flush=True)


def check_all(tally: Tally, cluster: Cluster, tools: dict[str, pathlib.Path], folder: pathlib.Path) -> None:
    prometheus, load = None, None
    try:
        cluster.start()
        prometheus = Prometheus(tools["prometheus"], folder, [cluster.http(node) for node in range(NODES)])
        load = cluster.load()
        traces: dict[bool, set[str]] = {True: set(), False: set()}
        for number in range(SAMPLED):
            for sampled in (True, False):
                traces[sampled].add(cluster.request(number % NODES, f"key-{number}", sampled))
        tally.check("Prometheus scrapes three nodes each second", prometheus.await_scrapes)
        metrics = described(cluster)
        tally.check("promtool check metrics", check_format, cluster, tools["promtool"])
        tally.check("promtool check config, check rules, test rules", check_deployment, tools["promtool"])
        tally.check("what is exported is documented", check_documented, cluster, metrics)
        tally.check("what is named exists", check_names, metrics)
        tally.check("rules: answered, with data, and none fires", check_rules, prometheus)
        tally.check("dashboards: answered with data", check_dashboards, prometheus)
        tally.check("exemplars of sampled requests alone", check_exemplars, cluster, prometheus, traces[True],
                    traces[False])
        tally.check("runbooks: one per alert, and their commands work", check_runbooks, cluster, folder)
    finally:
        if load is not None:
            end(load)
        if prometheus is not None:
            prometheus.stop()
        cluster.local("down")


def interrupted(number: int, _frame: object) -> None:
    # As an exception, so that what was started is ended.
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, help="the program; not given, a debug build")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        tools = find_tools()
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        print(f"make prometheus is not run: {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    if arguments.binary is None:
        run.build()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="shard-cache-prometheus-") as folder:
        cluster = Cluster((arguments.binary or run.binary()).resolve(), pathlib.Path(folder))
        tally.check("the nodes, Prometheus and the load start and end", check_all, tally, cluster, tools,
                    pathlib.Path(folder))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
