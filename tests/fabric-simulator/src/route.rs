//! Which call a request is. Every request gets a route, so that the ledger can name it even when
//! nothing further comes of it.

use http::Method;
use serde::{Deserialize, Serialize};

/// The calls that the simulator tells apart, in the ledger and in scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Route {
    /// `POST /v1/workspaces/W/items/I/jobs/instances/J/cancel`
    Cancel,
    /// `GET /v1/workspaces/W/items/I/jobs/instances/J`
    Job,
    /// `GET /v1/workspaces/W/items/I/jobs/instances`
    JobList,
    /// `POST /v1/workspaces/W/items/I/jobs/T/instances`, or the older `.../jobs/instances?jobType=T`
    Run,
    /// `GET /v1/workspaces`
    Workspaces,
    /// `GET /v1/workspaces/W/items`
    Items,
    /// `GET /{tenant}/v2.0/.well-known/openid-configuration`
    OpenIdConfiguration,
    /// `POST /{tenant}/oauth2/v2.0/token`
    Token,
    /// Anything else; answered as Fabric answers an unknown route.
    Unknown,
}

impl Route {
    /// The routes of Fabric.
    pub const FABRIC: [Self; 6] = [
        Self::Cancel,
        Self::Job,
        Self::JobList,
        Self::Run,
        Self::Workspaces,
        Self::Items,
    ];
    /// The routes of Entra.
    pub const ENTRA: [Self; 2] = [Self::OpenIdConfiguration, Self::Token];
}

/// A request's route with what its path and query name, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) route: Option<Route>,
    pub(crate) workspace_id: Option<String>,
    pub(crate) item_id: Option<String>,
    pub(crate) job_instance_id: Option<String>,
    pub(crate) job_type: Option<String>,
    pub(crate) continuation_token: Option<String>,
    pub(crate) tenant: Option<String>,
}

impl Call {
    pub(crate) fn parse(method: &Method, path: &str, query: Option<&str>) -> Self {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let field = |name: &str| {
            url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.into_owned())
        };
        let on = |route, workspace: &str, item: Option<&str>, job: Option<&str>| Self {
            route: Some(route),
            workspace_id: Some(workspace.to_owned()),
            item_id: item.map(str::to_owned),
            job_instance_id: job.map(str::to_owned),
            ..Self::default()
        };
        let by_tenant = |route, tenant: &str| Self {
            route: Some(route),
            tenant: Some(tenant.to_owned()),
            ..Self::default()
        };
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["v1", "workspaces"]) => Self {
                route: Some(Route::Workspaces),
                ..Self::default()
            },
            ("GET", ["v1", "workspaces", workspace, "items"]) => {
                on(Route::Items, workspace, None, None)
            }
            (
                "GET",
                [
                    "v1",
                    "workspaces",
                    workspace,
                    "items",
                    item,
                    "jobs",
                    "instances",
                ],
            ) => Self {
                continuation_token: field("continuationToken"),
                ..on(Route::JobList, workspace, Some(item), None)
            },
            (
                "POST",
                [
                    "v1",
                    "workspaces",
                    workspace,
                    "items",
                    item,
                    "jobs",
                    "instances",
                ],
            ) => Self {
                job_type: field("jobType"),
                ..on(Route::Run, workspace, Some(item), None)
            },
            (
                "GET",
                [
                    "v1",
                    "workspaces",
                    workspace,
                    "items",
                    item,
                    "jobs",
                    "instances",
                    job,
                ],
            ) => on(Route::Job, workspace, Some(item), Some(job)),
            (
                "POST",
                [
                    "v1",
                    "workspaces",
                    workspace,
                    "items",
                    item,
                    "jobs",
                    kind,
                    "instances",
                ],
            ) => Self {
                job_type: Some((*kind).to_owned()),
                ..on(Route::Run, workspace, Some(item), None)
            },
            (
                "POST",
                [
                    "v1",
                    "workspaces",
                    workspace,
                    "items",
                    item,
                    "jobs",
                    "instances",
                    job,
                    "cancel",
                ],
            ) => on(Route::Cancel, workspace, Some(item), Some(job)),
            ("GET", [tenant, "v2.0", ".well-known", "openid-configuration"]) => {
                by_tenant(Route::OpenIdConfiguration, tenant)
            }
            ("POST", [tenant, "oauth2", "v2.0", "token"]) => by_tenant(Route::Token, tenant),
            _ => Self::default(),
        }
    }

    pub(crate) fn route(&self) -> Route {
        self.route.unwrap_or(Route::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_published_route_is_told_apart() {
        let rows = [
            (
                "POST",
                "/v1/workspaces/w/items/i/jobs/instances/j/cancel",
                Route::Cancel,
            ),
            (
                "GET",
                "/v1/workspaces/w/items/i/jobs/instances/j",
                Route::Job,
            ),
            (
                "GET",
                "/v1/workspaces/w/items/i/jobs/instances",
                Route::JobList,
            ),
            (
                "POST",
                "/v1/workspaces/w/items/i/jobs/instances",
                Route::Run,
            ),
            (
                "POST",
                "/v1/workspaces/w/items/i/jobs/Pipeline/instances",
                Route::Run,
            ),
            ("GET", "/v1/workspaces", Route::Workspaces),
            ("GET", "/v1/workspaces/w/items", Route::Items),
            (
                "GET",
                "/t/v2.0/.well-known/openid-configuration",
                Route::OpenIdConfiguration,
            ),
            ("POST", "/t/oauth2/v2.0/token", Route::Token),
            (
                "GET",
                "/v1/workspaces/w/items/i/jobs/instances/j/cancel",
                Route::Unknown,
            ),
            (
                "POST",
                "/v1/workspaces/w/items/i/jobs/instances/j",
                Route::Unknown,
            ),
            ("GET", "/", Route::Unknown),
        ];
        for (method, path, route) in rows {
            let method = method.parse().unwrap();
            assert_eq!(
                Call::parse(&method, path, None).route(),
                route,
                "{method} {path}"
            );
        }
    }
}
