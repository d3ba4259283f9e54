//! When a role or a binding has taken effect.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, DeleteParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock;
use crate::error::Error;
use crate::plane::ControlPlane;

impl ControlPlane {
    /// Waits until the authorizer knows every role and binding written before this call.
    ///
    /// It learns of them through a watch, some milliseconds after the write is answered, which is
    /// long enough to refuse the first request of a test. [`apply`](Self::apply) waits by itself.
    ///
    /// How: it sees the objects of one type in the order of their writes. So once it grants what
    /// four objects of our own say, one of each type, it knows all earlier ones.
    ///
    /// # Errors
    /// The API server does not answer, or our own objects have no effect within 30 s.
    pub async fn rbac_settled(&self) -> Result<(), Error> {
        let name = format!("settled-{}", Uuid::new_v4());
        let client = self.client();
        let cluster_roles: Api<ClusterRole> = Api::all(client.clone());
        let cluster_bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        let roles: Api<Role> = Api::namespaced(client.clone(), NAMESPACE);
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), NAMESPACE);
        create(&cluster_roles, role(&name, "cluster")).await?;
        create(&cluster_bindings, binding(&name, "ClusterRole")).await?;
        create(&roles, role(&name, "namespace")).await?;
        create(&bindings, binding(&name, "Role")).await?;

        let reviews: Api<SubjectAccessReview> = Api::all(client);
        let granted = clock::poll(PAUSE, LIMIT, async || {
            for resource in ["cluster", "namespace"] {
                match is_granted(&reviews, &name, resource).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error)),
                }
            }
            Some(Ok(()))
        });
        let settled = granted.await.unwrap_or_else(|| {
            let what = format!("the effect of the roles {name}");
            Err(Error::Timeout { what, limit: LIMIT })
        });

        let parameters = DeleteParams::default();
        let removed = async {
            bindings.delete(&name, &parameters).await?;
            roles.delete(&name, &parameters).await?;
            cluster_bindings.delete(&name, &parameters).await?;
            cluster_roles.delete(&name, &parameters).await
        };
        let removed = removed
            .await
            .map_err(Error::request(format!("delete the roles {name}")));
        settled.and(removed.map(|_| ()))
    }
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<(), Error>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let what = format!("create the role or binding {}", object["metadata"]["name"]);
    let object: K = serde_json::from_value(object).expect("the object is written after its type");
    api.create(&PostParams::default(), &object)
        .await
        .map_err(Error::request(what))?;
    Ok(())
}

/// May our invented user get the invented resource?
async fn is_granted(
    reviews: &Api<SubjectAccessReview>,
    user: &str,
    resource: &str,
) -> Result<bool, Error> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": user,
            "resourceAttributes": { "group": GROUP, "resource": resource, "verb": "get", "namespace": NAMESPACE },
        },
    });
    let review = serde_json::from_value(review).expect("the object is written after its type");
    let answer = reviews
        .create(&PostParams::default(), &review)
        .await
        .map_err(Error::request("review the access of an invented user"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn role(name: &str, resource: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "rules": [{ "apiGroups": [GROUP], "resources": [resource], "verbs": ["get"] }],
    })
}

fn binding(name: &str, kind: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
    })
}

const GROUP: &str = "settled.test";

const NAMESPACE: &str = "default";

const PAUSE: Duration = Duration::from_millis(5);

const LIMIT: Duration = Duration::from_secs(30);
