//! Which verb on which object a request means, as kube-apiserver reads a path.

use std::collections::HashMap;

use http::Method;

/// A kind of object that the server keeps.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version in the group.
    pub version: &'static str,
    /// As paths and RBAC rules name it.
    pub plural: &'static str,
    /// As objects name it.
    pub kind: &'static str,
    /// `status` is a subresource: main writes ignore it, and status writes ignore the rest.
    pub has_status: bool,
}

impl Kind {
    /// As `apiVersion` shows it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// As error messages name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

/// What the operator works on.
pub static CANCELLATIONS: Kind = Kind {
    group: "fabricjobs.dev",
    version: "v1alpha1",
    plural: "fabricjobcancellations",
    kind: "FabricJobCancellation",
    has_status: true,
};
/// Where credentials are.
pub static SECRETS: Kind = core("secrets", "Secret");
/// What the operator tells people.
pub static EVENTS: Kind = Kind {
    group: "events.k8s.io",
    version: "v1",
    plural: "events",
    kind: "Event",
    has_status: false,
};
/// Who of several replicas acts.
pub static LEASES: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    plural: "leases",
    kind: "Lease",
    has_status: false,
};
static KINDS: [&Kind; 6] = [
    &LEASES,
    &CANCELLATIONS,
    &SECRETS,
    &EVENTS,
    &NAMESPACES,
    &SERVICE_ACCOUNTS,
];
static NAMESPACES: Kind = core("namespaces", "Namespace");
static SERVICE_ACCOUNTS: Kind = core("serviceaccounts", "ServiceAccount");

const fn core(plural: &'static str, kind: &'static str) -> Kind {
    Kind {
        group: "",
        version: "v1",
        plural,
        kind,
        has_status: false,
    }
}

/// What is done, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read one object, or a path that is no object's.
    Get,
    /// Read all objects of a kind.
    List,
    /// See the changes to come.
    Watch,
    /// Make a new object.
    Create,
    /// Replace an object.
    Update,
    /// Change an object, or apply it.
    Patch,
    /// Remove an object.
    Delete,
}

/// A request, read.
#[derive(Debug)]
pub struct Info {
    pub verb: Verb,
    /// `None` for a path that is not an object's, such as `/version`.
    pub kind: Option<&'static Kind>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    pub query: HashMap<String, String>,
    pub path: String,
}

impl Info {
    pub fn read(method: &Method, uri: &http::Uri) -> Self {
        let query: HashMap<_, _> =
            url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes())
                .into_owned()
                .collect();
        let path = uri.path().to_owned();
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => ("", "", &[][..]),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            other => (None, other),
        };
        let kind = rest.first().and_then(|plural| {
            KINDS.into_iter().find(|kind| {
                kind.plural == *plural && kind.group == group && kind.version == version
            })
        });
        let name = rest.get(1).map(|name| (*name).to_owned());
        let verb = match *method {
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ if name.is_some() || kind.is_none() => Verb::Get,
            _ if query
                .get("watch")
                .is_some_and(|watch| watch == "true" || watch == "1") =>
            {
                Verb::Watch
            }
            _ => Verb::List,
        };
        Self {
            verb,
            kind,
            namespace: namespace.map(str::to_owned),
            name,
            subresource: rest.get(2).map(|part| (*part).to_owned()),
            query,
            path,
        }
    }

    /// As an RBAC rule would name it: `secrets`, `fabricjobcancellations/status`; a path for what
    /// is not an object.
    pub fn resource(&self) -> String {
        match (self.kind, &self.subresource) {
            (None, _) => self.path.clone(),
            (Some(kind), None) => kind.plural.to_owned(),
            (Some(kind), Some(part)) => format!("{}/{part}", kind.plural),
        }
    }
}
