//! What a request asks for, as far as its method, path and query tell.

use http::{Method, Uri};

/// What kind of call a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads many objects.
    List,
    /// Opens a watch.
    Watch,
    /// One line of a watch, on its way to the client.
    Event,
    /// Creates an object.
    Create,
    /// Replaces an object.
    Update,
    /// Changes an object.
    Patch,
    /// Deletes an object.
    Delete,
    /// Asks Fabric to cancel a job instance.
    Cancel,
    /// Asks Fabric how a job instance stands.
    Look,
    /// Asks Entra for a token.
    Token,
    /// Anything else: discovery, version, an unknown route.
    Other,
}

/// A request, taken apart. Parts that it does not name are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it does.
    pub verb: Verb,
    /// The plural of a Kubernetes resource; the path of any other call.
    pub resource: String,
    /// Its namespace.
    pub namespace: String,
    /// The object's name; of a cancel or look the job instance's id.
    pub name: String,
    /// For example `status`.
    pub subresource: String,
}

impl Call {
    /// Takes a request apart.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        kubernetes(method, &parts, uri.query().unwrap_or_default())
            .or_else(|| foreign(method, &parts))
            .unwrap_or_else(|| Self::new(Verb::Other, path))
    }

    fn new(verb: Verb, resource: &str) -> Self {
        Self {
            verb,
            resource: resource.to_owned(),
            namespace: String::new(),
            name: String::new(),
            subresource: String::new(),
        }
    }
}

fn kubernetes(method: &Method, parts: &[&str], query: &str) -> Option<Call> {
    let parts = match parts {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return None,
    };
    let (namespace, parts) = match parts {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        _ => ("", parts),
    };
    let (resource, name, subresource) = match parts {
        [resource] => (*resource, "", ""),
        [resource, name] => (*resource, *name, ""),
        [resource, name, subresource] => (*resource, *name, *subresource),
        _ => return None,
    };
    let watches = query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"));
    let verb = match *method {
        Method::GET if watches => Verb::Watch,
        Method::GET if name.is_empty() => Verb::List,
        Method::GET => Verb::Get,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => Verb::Other,
    };
    Some(Call {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
        ..Call::new(verb, resource)
    })
}

fn foreign(method: &Method, parts: &[&str]) -> Option<Call> {
    let (verb, name) = match (method.as_str(), parts) {
        (
            "POST",
            [
                "v1",
                "workspaces",
                _,
                "items",
                _,
                "jobs",
                "instances",
                job,
                "cancel",
            ],
        ) => (Verb::Cancel, *job),
        ("GET", ["v1", "workspaces", _, "items", _, "jobs", "instances", job]) => {
            (Verb::Look, *job)
        }
        ("POST", [tenant, "oauth2", "v2.0", "token"]) => (Verb::Token, *tenant),
        _ => return None,
    };
    Some(Call {
        name: name.to_owned(),
        ..Call::new(verb, "")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_told_apart() {
        let kind = "/apis/fabricjobs.dev/v1alpha1/namespaces/ns/fabricjobcancellations";
        let job = "/v1/workspaces/w/items/i/jobs/instances/j";
        for (method, uri, verb, resource, name, subresource) in [
            ("GET", kind, Verb::List, "fabricjobcancellations", "", ""),
            (
                "GET",
                &format!("{kind}?watch=true&resourceVersion=7"),
                Verb::Watch,
                "fabricjobcancellations",
                "",
                "",
            ),
            (
                "PATCH",
                &format!("{kind}/x/status?force=true"),
                Verb::Patch,
                "fabricjobcancellations",
                "x",
                "status",
            ),
            (
                "GET",
                "/api/v1/namespaces/ns/secrets/s",
                Verb::Get,
                "secrets",
                "s",
                "",
            ),
            (
                "GET",
                "/api/v1/namespaces/ns",
                Verb::Get,
                "namespaces",
                "ns",
                "",
            ),
            (
                "POST",
                "/apis/events.k8s.io/v1/namespaces/ns/events",
                Verb::Create,
                "events",
                "",
                "",
            ),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l",
                Verb::Update,
                "leases",
                "l",
                "",
            ),
            ("GET", "/version", Verb::Other, "/version", "", ""),
            ("POST", &format!("{job}/cancel"), Verb::Cancel, "", "j", ""),
            ("GET", job, Verb::Look, "", "j", ""),
            ("POST", "/t/oauth2/v2.0/token", Verb::Token, "", "t", ""),
        ] {
            let call = Call::of(&method.parse().unwrap(), &uri.parse().unwrap());
            let told = (
                call.verb,
                call.resource.as_str(),
                call.name.as_str(),
                call.subresource.as_str(),
            );
            assert_eq!(told, (verb, resource, name, subresource), "{method} {uri}");
        }
    }
}
