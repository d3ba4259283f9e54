//! The command line, through the real binary: what it refuses, what it prints, how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;

const USAGE: i32 = 2;

/// The operator with nothing in its environment but what the test gives.
fn operator(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fabric-job-operator"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    command
}

fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    operator(arguments, environment).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The operator, running with a kubeconfig that leads to a port where nobody answers. Ended
/// when dropped.
struct Running {
    process: Child,
    log: BufReader<ChildStderr>,
    settings: Value,
}

impl Running {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let kubeconfig = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/kubeconfig.yaml");
        let mut command = operator(arguments, environment);
        for (name, value) in [
            ("KUBECONFIG", kubeconfig),
            ("METRICS_BIND_ADDRESS", "127.0.0.1:0"),
            ("HEALTH_PROBE_BIND_ADDRESS", "127.0.0.1:0"),
        ] {
            if !environment.iter().any(|(given, _)| *given == name) {
                command.env(name, value);
            }
        }
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut running = Self {
            process,
            log,
            settings: Value::Null,
        };
        running.settings = running.next_line();
        running
    }

    fn next_line(&mut self) -> Value {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The first line from here on that holds `message`.
    fn line_with(&mut self, message: &str) -> Value {
        loop {
            let line = self.next_line();
            if line["message"]
                .as_str()
                .is_some_and(|m| m.contains(message))
            {
                return line;
            }
        }
    }

    /// Where the server of this flag listens, as it logged.
    fn address(&mut self, flag: &str) -> String {
        loop {
            let line = self.line_with("serving");
            if line["flag"] == flag {
                return line["listens_on"].as_str().unwrap().to_owned();
            }
        }
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Flag, variable, a value that is refused, and a part of the sentence that says what is allowed.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "fabric-endpoint",
        "FABRIC_ENDPOINT",
        "api.fabric",
        "an absolute URL such as https://api.fabric.microsoft.com",
    ),
    (
        "fabric-endpoint",
        "FABRIC_ENDPOINT",
        "http://api.fabric.microsoft.com",
        "only https is allowed",
    ),
    (
        "fabric-endpoint",
        "FABRIC_ENDPOINT",
        "http://127.0.0.1:8080",
        "--allow-loopback-http",
    ),
    (
        "fabric-endpoint",
        "FABRIC_ENDPOINT",
        "https://host/v1",
        "without path, query or fragment",
    ),
    (
        "fabric-endpoint",
        "FABRIC_ENDPOINT",
        "https://host?a=b",
        "without path, query or fragment",
    ),
    (
        "fabric-scope",
        "FABRIC_SCOPE",
        "https://api.fabric.microsoft.com",
        "ends in /.default",
    ),
    (
        "fabric-scope",
        "FABRIC_SCOPE",
        "a/.default b/.default",
        "one scope",
    ),
    (
        "entra-authority",
        "AZURE_AUTHORITY_HOST",
        "login.microsoftonline.com",
        "an absolute URL such as https://login.microsoftonline.com",
    ),
    (
        "entra-authority",
        "AZURE_AUTHORITY_HOST",
        "ftp://login",
        "only https is allowed",
    ),
    (
        "entra-authority",
        "AZURE_AUTHORITY_HOST",
        "https://login/tenant",
        "without path (the tenant is added)",
    ),
    ("ca-bundle", "FABRIC_CA_BUNDLE", " ", "path of a PEM file"),
    (
        "https-proxy",
        "FABRIC_HTTPS_PROXY",
        "socks5://proxy:1080",
        "http:// or https://",
    ),
    (
        "https-proxy",
        "FABRIC_HTTPS_PROXY",
        "http://proxy/path",
        "without a path",
    ),
    (
        "allow-loopback-http",
        "FABRIC_ALLOW_LOOPBACK_HTTP",
        "yes",
        "true or false",
    ),
    (
        "namespace",
        "WATCH_NAMESPACES",
        "team-a,team-b",
        "one namespace is supported",
    ),
    (
        "namespace",
        "WATCH_NAMESPACES",
        "Team_A",
        "at most 63 lower case letters",
    ),
    (
        "namespace",
        "WATCH_NAMESPACES",
        "-a",
        "letter or digit at both ends",
    ),
    (
        "concurrency",
        "MAX_CONCURRENT_RECONCILES",
        "0",
        "whole number from 1 to 1024",
    ),
    (
        "concurrency",
        "MAX_CONCURRENT_RECONCILES",
        "1025",
        "whole number from 1 to 1024",
    ),
    (
        "concurrency",
        "MAX_CONCURRENT_RECONCILES",
        "many",
        "whole number from 1 to 1024",
    ),
    (
        "concurrency",
        "MAX_CONCURRENT_RECONCILES",
        "-1",
        "whole number from 1 to 1024",
    ),
    (
        "leader-elect",
        "LEADER_ELECT",
        "yes",
        "must be true or false",
    ),
    (
        "lease-namespace",
        "POD_NAMESPACE",
        "Operators",
        "at most 63 lower case letters",
    ),
    (
        "lease-name",
        "LEASE_NAME",
        "my_lease",
        "the name of a Lease",
    ),
    ("lease-name", "LEASE_NAME", "lease.", "the name of a Lease"),
    (
        "metrics-bind-address",
        "METRICS_BIND_ADDRESS",
        "8080",
        "0 for no metrics",
    ),
    (
        "metrics-bind-address",
        "METRICS_BIND_ADDRESS",
        "localhost:8080",
        "an IP address and a port",
    ),
    (
        "health-probe-bind-address",
        "HEALTH_PROBE_BIND_ADDRESS",
        "0",
        "an IP address and a port",
    ),
    (
        "shutdown-grace-seconds",
        "SHUTDOWN_GRACE_SECONDS",
        "601",
        "whole number from 0 to 600",
    ),
    (
        "shutdown-grace-seconds",
        "SHUTDOWN_GRACE_SECONDS",
        "25s",
        "whole number from 0 to 600",
    ),
    ("log-format", "LOG_FORMAT", "xml", "text or json"),
];

#[test]
fn a_wrong_value_ends_it_at_once_with_one_sentence() {
    for &(flag, variable, value, allowed) in REFUSED {
        let by_flag = output(&[&format!("--{flag}={value}")], &[]);
        let by_variable = output(&["run"], &[(variable, value)]);
        for refused in [by_flag, by_variable] {
            let said = stderr(&refused);
            assert_eq!(
                refused.status.code(),
                Some(USAGE),
                "--{flag}={value}: {said}"
            );
            let start = format!("--{flag} ({variable}) cannot be {value:?}: ");
            assert!(said.starts_with(&start), "{said}");
            assert!(said.contains(allowed), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert_eq!(stdout(&refused), "");
        }
    }
}

#[test]
fn a_malformed_log_filter_is_a_wrong_value_too() {
    let refused = output(&[], &[("RUST_LOG", "info,kube=loud")]);
    assert_eq!(refused.status.code(), Some(USAGE));
    assert!(stderr(&refused).starts_with("RUST_LOG cannot be \"info,kube=loud\": it must be "));
    assert_eq!(stderr(&refused).lines().count(), 1);
}

#[test]
fn what_the_grammar_does_not_know_is_refused_in_one_sentence() {
    for (arguments, says) in [
        (
            &["--concurency", "3"][..],
            "similar argument exists: '--concurrency'",
        ),
        (
            &["--leader-elected"],
            "similar argument exists: '--leader-elect'",
        ),
        (&["cancel"], "unrecognized subcommand 'cancel'"),
        (
            &["--concurrency", "1", "--concurrency", "2"],
            "cannot be used multiple times",
        ),
        (
            &["--namespace", "a", "--namespace", "b"],
            "one namespace is supported",
        ),
        (&["--concurrency", "1", "crd"], "cannot be used with"),
        (&["--context"], "a value is required"),
    ] {
        let refused = output(arguments, &[]);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(USAGE), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_complaint_never_repeats_a_password() {
    for arguments in [
        &["--https-proxy", "ftp://user:hunter2@proxy:3128"][..],
        &["--https-proxy", "user:hunter2@proxy"],
        // Slips that make the grammar complain.
        &["--https-proxy=", "http://user:hunter2@proxy"],
        &["--https-proxy=", "user:hunter2@proxy"],
        &["--https-proxy=", "http://user:hunter2", "or-more@proxy"],
        &["run", "http://user:hunt'er2@proxy"],
        &["crd", "http://user:hunter2@proxy"],
        &["--https-proxies=http://user:hunter2@proxy"],
        &["--http://user:hunter2@proxy"],
        &[
            "--fabric-endpoint",
            "https://user:hunter2@api.fabric.microsoft.com",
        ],
        &[
            "--entra-authority",
            "https://user:hunt@er2@login.microsoftonline.com",
        ],
    ] {
        let refused = output(arguments, &[]);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(USAGE), "{said}");
        assert!(!said.contains("hunt") && !said.contains("er2"), "{said}");
    }
}

#[test]
fn help_version_and_crd_go_to_standard_output_whatever_the_environment_holds() {
    let broken = [("MAX_CONCURRENT_RECONCILES", "none")];
    for (arguments, begins, holds) in [
        (
            &["--help"][..],
            "Cancels Microsoft Fabric",
            "[env: MAX_CONCURRENT_RECONCILES]",
        ),
        (
            &["run", "--help"],
            "Runs the operator",
            "[env: MAX_CONCURRENT_RECONCILES]",
        ),
        (
            &["--version"],
            "fabric-job-operator ",
            env!("CARGO_PKG_VERSION"),
        ),
        (
            &["crd"],
            "apiVersion: apiextensions.k8s.io/v1\n",
            "kind: FabricJobCancellation",
        ),
    ] {
        let printed = output(arguments, &broken);
        assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
        assert!(stdout(&printed).starts_with(begins), "{}", stdout(&printed));
        assert!(stdout(&printed).contains(holds), "{}", stdout(&printed));
        assert_eq!(stderr(&printed), "");
    }
}

#[test]
fn the_first_line_shows_the_defaults_when_nothing_is_set() {
    let running = Running::start(&[], &[]);
    let settings = &running.settings;
    assert_eq!(
        settings["message"],
        "fabric-job-operator starts with these settings"
    );
    for (key, value) in [
        ("fabric_endpoint", "https://api.fabric.microsoft.com"),
        ("fabric_scope", "https://api.fabric.microsoft.com/.default"),
        ("entra_authority", "https://login.microsoftonline.com"),
        ("namespace", "(all)"),
        ("log_format", "json"),
    ] {
        assert_eq!(settings[key], value, "{settings}");
    }
    assert_eq!(settings["allow_loopback_http"], false);
    assert_eq!(settings["concurrency"], 32);
    assert_eq!(settings["shutdown_grace_seconds"], 25);
    assert_eq!(settings["leader_elect"], true);
    assert_eq!(settings["lease_name"], "fabric-job-operator");
    for absent in ["ca_bundle", "https_proxy", "no_proxy", "context"] {
        assert!(settings.get(absent).is_none(), "{settings}");
    }
}

#[test]
fn a_flag_wins_over_its_variable_and_an_empty_variable_is_not_set() {
    let running = Running::start(
        &[
            "run",
            "--concurrency",
            "3",
            "--allow-loopback-http=false",
            "--leader-elect",
            "--lease-name",
            "an.other",
        ],
        &[
            ("MAX_CONCURRENT_RECONCILES", "7"),
            ("FABRIC_ALLOW_LOOPBACK_HTTP", "true"),
            ("SHUTDOWN_GRACE_SECONDS", "9"),
            ("FABRIC_SCOPE", ""),
            ("LEADER_ELECT", "false"),
            ("POD_NAMESPACE", "operators"),
            ("LEASE_NAME", "unused"),
            ("WATCH_NAMESPACES", ""),
            ("RUST_LOG", ""),
        ],
    );
    let settings = &running.settings;
    assert_eq!(settings["concurrency"], 3);
    assert_eq!(settings["allow_loopback_http"], false);
    assert_eq!(settings["shutdown_grace_seconds"], 9);
    assert_eq!(settings["leader_elect"], true);
    assert_eq!(settings["lease_namespace"], "operators");
    assert_eq!(settings["lease_name"], "an.other");
    assert_eq!(
        settings["fabric_scope"],
        "https://api.fabric.microsoft.com/.default"
    );
    assert_eq!(settings["namespace"], "(all)");
}

#[test]
fn every_setting_arrives_and_no_password_is_logged() {
    let mut running = Running::start(
        &[
            "--fabric-endpoint=http://127.0.0.1:9/",
            "--entra-authority=http://[::1]:9",
            "--fabric-scope=api://fabric/.default",
            "--allow-loopback-http",
            "--https-proxy=http://user:hunter2@proxy:3128",
            "--no-proxy=localhost,10.0.0.0/8",
            "--namespace=team-a",
            "--context=nobody-home",
            "--shutdown-grace-seconds=0",
            "--log-format=json",
        ],
        &[("RUST_LOG", "info")],
    );
    let settings = running.settings.clone();
    for (key, value) in [
        ("fabric_endpoint", "http://127.0.0.1:9"),
        ("entra_authority", "http://[::1]:9"),
        ("fabric_scope", "api://fabric/.default"),
        ("https_proxy", "http://proxy:3128"),
        ("no_proxy", "localhost,10.0.0.0/8"),
        ("namespace", "team-a"),
        ("context", "nobody-home"),
        ("log_filter", "info"),
    ] {
        assert_eq!(settings[key], value, "{settings}");
    }
    running.signal("TERM");
    let mut log = settings.to_string();
    running.log.read_to_string(&mut log).unwrap();
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn it_lives_without_an_api_server_but_is_not_ready() {
    let mut running = Running::start(&[], &[]);
    let health = running.address("--health-probe-bind-address");
    assert!(get(&health, "/livez").starts_with("HTTP/1.1 200 "));
    let readiness = get(&health, "/readyz");
    assert!(readiness.starts_with("HTTP/1.1 503 "), "{readiness}");
    assert!(readiness.contains("not ready: "), "{readiness}");

    let metrics = running.address("--metrics-bind-address");
    assert!(get(&metrics, "/metrics").contains("fabric_operator_build_info"));
}

#[test]
fn a_signal_ends_it_cleanly() {
    for name in ["TERM", "INT"] {
        let mut running = Running::start(&[], &[]);
        running.address("--metrics-bind-address");
        running.signal(name);
        let shutting_down = running.line_with("shutting down");
        assert_eq!(shutting_down["signal"], format!("SIG{name}"));
        running.line_with("ended: everything that was begun is finished");
        assert_eq!(running.exit_code(), Some(0));
    }
}

/// A factor that makes a test build break down at once.
const NO_FACTOR: &[(&str, &str)] = &[("FABRIC_TEST_CLOCK_FACTOR", "banana")];

#[cfg(not(feature = "test-clock"))]
#[test]
fn a_build_without_the_feature_knows_no_other_clock() {
    let mut running = Running::start(&[], NO_FACTOR);
    running.line_with("the Kubernetes API cannot be reached");
    running.signal("TERM");
    assert_eq!(running.exit_code(), Some(0));
}

#[cfg(feature = "test-clock")]
#[test]
fn a_test_build_reads_how_fast_its_clock_runs() {
    let mut running = Running::start(&[], NO_FACTOR);
    running.line_with("FABRIC_TEST_CLOCK_FACTOR must be a whole number");
    assert_eq!(running.exit_code(), Some(1));
}

#[test]
fn metrics_can_be_turned_off() {
    let mut running = Running::start(&[], &[("METRICS_BIND_ADDRESS", "0")]);
    assert_eq!(running.settings["metrics_bind_address"], "0");
    let health = running.address("--health-probe-bind-address");
    assert!(get(&health, "/metrics").starts_with("HTTP/1.1 404 "));
    running.signal("TERM");
    let mut log = String::new();
    running.log.read_to_string(&mut log).unwrap();
    assert!(!log.contains("--metrics-bind-address"), "{log}");
}

#[test]
fn an_address_that_is_taken_ends_it_with_the_flag_that_names_another() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut running = Running::start(&[], &[("HEALTH_PROBE_BIND_ADDRESS", &address)]);
    let end = running.line_with("ended: ");
    let message = end["message"].as_str().unwrap();
    assert!(message.contains(&address), "{message}");
    assert!(
        message.contains("with --health-probe-bind-address"),
        "{message}"
    );
    assert_eq!(running.exit_code(), Some(1));
}

#[test]
fn a_kubeconfig_that_is_missing_or_lacks_the_context_ends_it_with_what_to_do() {
    for (arguments, kubeconfig) in [
        (&[][..], Some("/nonexistent/kubeconfig")),
        (&["--context", "elsewhere"], None),
    ] {
        let environment: Vec<_> = kubeconfig
            .map(|path| ("KUBECONFIG", path))
            .into_iter()
            .collect();
        let mut running = Running::start(arguments, &environment);
        let end = running.line_with("ended: ");
        let message = end["message"].as_str().unwrap();
        assert!(
            message.contains("no usable Kubernetes connection"),
            "{message}"
        );
        let culprit = arguments.last().copied().or(kubeconfig).unwrap();
        assert!(message.contains(culprit), "{message}");
        assert_eq!(running.exit_code(), Some(1));
    }
}
