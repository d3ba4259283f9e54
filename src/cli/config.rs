//! From text to a configuration: every rule about a value, and the one sentence that says which
//! value breaks it.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ContextValue;
use url::Url;

use super::flags::{self, RunFlags};
use crate::entra::Authority;
use crate::fabric::Endpoint;
use crate::outbound::{InvalidOrigin, Origin};
use crate::telemetry::logs::{Filter, Format};
use crate::telemetry::probes::BindAddress;

/// How the operator runs. Nothing in it prints a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the Fabric API is.
    pub fabric_endpoint: Endpoint,
    /// What tokens are asked for.
    pub fabric_scope: String,
    /// Where tokens are asked for.
    pub entra_authority: Authority,
    /// PEM file trusted for Fabric and Entra beside the system's roots; not read yet.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy for Fabric and Entra.
    pub https_proxy: Option<Proxy>,
    /// Hosts reached without that proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// Whether http on a loopback address is accepted for Fabric and Entra.
    pub allow_loopback_http: bool,
    /// The one namespace to watch; all when absent.
    pub namespace: Option<String>,
    /// The kubeconfig context; when absent the cluster this runs in, else the current context.
    pub context: Option<String>,
    /// How many cancellations are worked on at once, 1 to 1024.
    pub concurrency: u16,
    /// Whether a Lease is taken before anything is done.
    pub leader_elect: bool,
    /// The namespace of the Lease; the Pod's, or the kubeconfig context's, when absent.
    pub lease_namespace: Option<String>,
    /// The name of the Lease.
    pub lease_name: String,
    /// Where `/metrics` is served; nowhere when absent.
    pub metrics_bind_address: Option<BindAddress>,
    /// Where `/livez` and `/readyz` are served.
    pub health_probe_bind_address: BindAddress,
    /// How long a shutdown may take, at most 600 s.
    pub shutdown_grace: Duration,
    /// How a log line looks.
    pub log_format: Format,
    /// Which lines are logged.
    pub log_filter: Filter,
}

/// An HTTP proxy. Its URL may hold a user name and a password, so it is shown without them.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    fn parse(raw: &str) -> Option<Self> {
        let url = Url::parse(raw).ok()?;
        let only_an_origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        (matches!(url.scheme(), "http" | "https") && url.host().is_some() && only_an_origin)
            .then_some(Self(url))
    }

    /// The URL with the credentials in it, for the connection alone.
    #[must_use]
    pub fn expose_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with the command line or the environment: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// `--flag` has a value that `rule` does not allow.
    fn value(flag: &str, value: &str, rule: impl fmt::Display) -> Self {
        let variable = flags::variable_of(flag)
            .map(|name| format!(" ({name})"))
            .unwrap_or_default();
        let value = without_credentials(value);
        Self(format!("--{flag}{variable} cannot be {value:?}: {rule}"))
    }

    /// The grammar does not know what to do with the arguments.
    pub(super) fn grammar(error: &clap::Error) -> Self {
        let text = without_addresses(error);
        let said: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter_map(|line| {
                line.strip_prefix("error: ")
                    .or_else(|| line.starts_with("tip: ").then_some(line))
            })
            .collect();
        Self(format!("{}; --help lists what is allowed", said.join("; ")))
    }
}

/// Complaints end up in logs, so whatever stands where a URL has its user name is left out.
fn without_credentials(value: &str) -> String {
    let Some((before, after)) = value.rsplit_once('@') else {
        return value.to_owned();
    };
    let scheme = before.find("//").map_or("", |at| &before[..at + 2]);
    format!("{scheme}***@{after}")
}

/// What clap says, without what stands in the addresses among the arguments. After a stray space
/// (`--https-proxy= http://user:password@proxy`) an address is taken for a command; cut in two by
/// a space in the password it has no `@` any more, so nothing after `//` is kept.
fn without_addresses(error: &clap::Error) -> String {
    let shown = error.context().flat_map(|(_, value)| match value {
        ContextValue::String(one) => std::slice::from_ref(one),
        ContextValue::Strings(several) => several,
        _ => &[],
    });
    shown.fold(error.to_string(), |text, value| {
        let safe = match value.find("//") {
            Some(at) => format!("{}***", &value[..at + 2]),
            None => without_credentials(value),
        };
        if safe == *value {
            text
        } else {
            text.replace(value, &safe)
        }
    })
}

impl Config {
    /// Reads the flags, and `RUST_LOG` as it was found.
    pub(super) fn read(flags: RunFlags, rust_log: Option<&str>) -> Result<Self, UsageError> {
        // In full, so that a new flag cannot be forgotten here.
        let RunFlags {
            fabric_endpoint,
            fabric_scope,
            entra_authority,
            ca_bundle,
            https_proxy,
            no_proxy,
            allow_loopback_http,
            namespace,
            context,
            concurrency,
            leader_elect,
            lease_namespace,
            lease_name,
            metrics_bind_address,
            health_probe_bind_address,
            shutdown_grace_seconds,
            log_format,
        } = flags;

        let allow_loopback_http = boolean("allow-loopback-http", &allow_loopback_http)?;
        Ok(Self {
            fabric_endpoint: Endpoint::new(origin(
                "fabric-endpoint",
                &fabric_endpoint,
                allow_loopback_http,
                "https://api.fabric.microsoft.com",
                "path",
            )?),
            fabric_scope: scope(fabric_scope)?,
            entra_authority: Authority::new(origin(
                "entra-authority",
                &entra_authority,
                allow_loopback_http,
                "https://login.microsoftonline.com",
                "path (the tenant is added)",
            )?),
            ca_bundle: ca_bundle
                .map(|raw| text("ca-bundle", raw, "it must be the path of a PEM file"))
                .transpose()?
                .map(PathBuf::from),
            https_proxy: https_proxy.map(|raw| proxy(&raw)).transpose()?,
            no_proxy: no_proxy
                .map(|raw| text("no-proxy", raw, "it must be hosts separated by commas"))
                .transpose()?,
            allow_loopback_http,
            namespace: one_namespace(&namespace)?,
            context: context
                .map(|raw| {
                    text(
                        "context",
                        raw,
                        "it must be the name of a kubeconfig context",
                    )
                })
                .transpose()?,
            concurrency: whole_number("concurrency", &concurrency, 1..=1024)?,
            leader_elect: boolean("leader-elect", &leader_elect)?,
            lease_namespace: lease_namespace
                .map(|raw| namespace_name("lease-namespace", raw))
                .transpose()?,
            lease_name: lease_name_of(lease_name)?,
            metrics_bind_address: match metrics_bind_address.as_str() {
                "0" => None,
                raw => Some(address(
                    "metrics-bind-address",
                    raw,
                    ", or 0 for no metrics",
                )?),
            },
            health_probe_bind_address: address(
                "health-probe-bind-address",
                &health_probe_bind_address,
                "",
            )?,
            shutdown_grace: Duration::from_secs(
                whole_number("shutdown-grace-seconds", &shutdown_grace_seconds, 0..=600)?.into(),
            ),
            log_format: match log_format.as_deref() {
                None => Format::for_this_terminal(),
                Some("text") => Format::Text,
                Some("json") => Format::Json,
                Some(raw) => {
                    let rule = "it must be text or json";
                    return Err(UsageError::value("log-format", raw, rule));
                }
            },
            log_filter: rust_log.map(log_filter).transpose()?.unwrap_or_default(),
        })
    }
}

/// The origin rules hold for both flags; what can be said better of one of them is said here.
fn origin(
    flag: &str,
    raw: &str,
    allow_loopback_http: bool,
    example: &str,
    path: &str,
) -> Result<Origin, UsageError> {
    Origin::parse(raw, allow_loopback_http).map_err(|wrong| {
        let rule = match wrong {
            InvalidOrigin::NotAUrl => format!("not an absolute URL such as {example}"),
            InvalidOrigin::NotAnOrigin => {
                format!("only scheme, host and port are allowed, without {path}, query or fragment")
            }
            InvalidOrigin::Insecure | InvalidOrigin::UserInfo => wrong.to_string(),
        };
        UsageError::value(flag, raw, rule)
    })
}

fn boolean(flag: &str, raw: &str) -> Result<bool, UsageError> {
    raw.parse()
        .map_err(|_| UsageError::value(flag, raw, "it must be true or false"))
}

fn whole_number(flag: &str, raw: &str, range: RangeInclusive<u16>) -> Result<u16, UsageError> {
    raw.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (from, to) = range.into_inner();
            let rule = format!("it must be a whole number from {from} to {to}");
            UsageError::value(flag, raw, rule)
        })
}

/// Any text but an empty one.
fn text(flag: &str, raw: String, rule: &str) -> Result<String, UsageError> {
    if raw.trim().is_empty() {
        return Err(UsageError::value(flag, &raw, rule));
    }
    Ok(raw)
}

fn address(flag: &str, raw: &str, or: &str) -> Result<BindAddress, UsageError> {
    BindAddress::parse(raw).ok_or_else(|| {
        let rule = format!(
            "it must be an IP address and a port such as 127.0.0.1:9000 or [::]:9000, or :9000 \
             for every interface{or}"
        );
        UsageError::value(flag, raw, rule)
    })
}

/// Entra grants a client its own rights only for a resource as a whole, which is `/.default`.
/// Source: Microsoft identity platform, "OAuth 2.0 client credentials flow", parameter `scope`.
fn scope(raw: String) -> Result<String, UsageError> {
    let names_a_resource = raw
        .strip_suffix("/.default")
        .is_some_and(|resource| !resource.is_empty());
    if names_a_resource && raw.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(raw);
    }
    let rule = "it must be one scope that ends in /.default, such as \
                https://api.fabric.microsoft.com/.default";
    Err(UsageError::value("fabric-scope", &raw, rule))
}

fn proxy(raw: &str) -> Result<Proxy, UsageError> {
    Proxy::parse(raw).ok_or_else(|| {
        let rule = "it must be http:// or https:// with a host and a port, without a path";
        UsageError::value("https-proxy", raw, rule)
    })
}

fn one_namespace(given: &[String]) -> Result<Option<String>, UsageError> {
    let refuse = |value: &str, rule| Err(UsageError::value("namespace", value, rule));
    match given {
        [] => Ok(None),
        [one] if one.contains(',') => refuse(one, ONE_NAMESPACE),
        [one] => namespace_name("namespace", one.clone()).map(Some),
        several => refuse(&several.join(","), ONE_NAMESPACE),
    }
}

fn namespace_name(flag: &str, raw: String) -> Result<String, UsageError> {
    if is_dns_label(&raw) {
        return Ok(raw);
    }
    let rule = "it must be the name of a namespace: at most 63 lower case letters, digits and \
                dashes, with a letter or digit at both ends";
    Err(UsageError::value(flag, &raw, rule))
}

/// Source: Kubernetes, "Object Names and IDs", DNS subdomain names.
fn lease_name_of(raw: String) -> Result<String, UsageError> {
    if raw.len() <= 253 && raw.split('.').all(is_dns_label) {
        return Ok(raw);
    }
    let rule = "it must be the name of a Lease: lower case letters, digits, dashes and dots, with \
                a letter or digit at both ends of each part";
    Err(UsageError::value("lease-name", &raw, rule))
}

const ONE_NAMESPACE: &str =
    "one namespace is supported, not a list; leave it out to watch all namespaces";

/// A namespace's name. Source: Kubernetes, "Object Names and IDs", RFC 1123 label names.
fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn log_filter(raw: &str) -> Result<Filter, UsageError> {
    Filter::parse(raw).map_err(|_| {
        UsageError(format!(
            "RUST_LOG cannot be {raw:?}: it must be a level (error, warn, info, debug, trace, \
             off) or a list such as info,fabric_job_operator=debug"
        ))
    })
}
