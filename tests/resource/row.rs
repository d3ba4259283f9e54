//! One row: what is sent to the API server, and what it must answer.

use control_plane::ControlPlane;
use fabric_job_operator::api::FabricJobCancellation;
use kube::Client;
use serde_json::{Value, json};

use crate::installed;

/// An object, the edits made to it, and the answer to the last of them.
pub struct Row {
    name: String,
    object: Value,
    edits: Vec<Edit>,
    validation: &'static str,
    expected: Expected,
}

/// One place of an object, changed.
#[derive(Clone)]
pub struct Change {
    pointer: String,
    value: Option<Value>,
}

struct Edit {
    subresource: &'static str,
    changes: Vec<Change>,
}

enum Expected {
    /// Taken, and the answer shows this (`None`: the field is not there).
    Accepted(Vec<(String, Option<Value>)>),
    /// Refused with this HTTP status and a message that contains all of this.
    Refused(u16, Vec<String>),
}

/// Sets the field to a value.
pub fn set(pointer: &str, value: impl Into<Value>) -> Change {
    Change {
        pointer: pointer.into(),
        value: Some(value.into()),
    }
}

/// Takes the field away.
pub fn unset(pointer: &str) -> Change {
    Change {
        pointer: pointer.into(),
        value: None,
    }
}

/// A created object: the smallest valid one with these changes.
pub fn create<const N: usize>(name: impl Into<String>, changes: [Change; N]) -> Row {
    let mut object = json!({
        "apiVersion": "fabricjobs.dev/v1alpha1",
        "kind": "FabricJobCancellation",
        "metadata": {"generateName": "row-"},
        "spec": {
            "workspaceId": "cfafbeb1-8037-4d0c-896e-a46fb27ff229",
            "itemId": "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7",
            "jobInstanceId": "4b218778-e7a5-4d73-8187-f10824047715",
        },
    });
    apply(&mut object, &changes);
    Row {
        name: name.into(),
        object,
        edits: Vec::new(),
        validation: "Strict",
        expected: Expected::Accepted(Vec::new()),
    }
}

impl Row {
    /// Then the object is replaced, as `kubectl edit` does.
    pub fn edit<const N: usize>(self, changes: [Change; N]) -> Self {
        self.replace("", changes)
    }

    /// Then its status is replaced, through the subresource.
    pub fn status<const N: usize>(self, changes: [Change; N]) -> Self {
        self.replace("/status", changes)
    }

    /// Unknown fields are only warned of, which is what clients other than kubectl get.
    pub fn not_strict(mut self) -> Self {
        self.validation = "Warn";
        self
    }

    /// The last step is taken and its answer shows this.
    pub fn shows(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.expect_shown(pointer, Some(value.into()));
        self
    }

    /// The last step is taken and its answer has no such field.
    pub fn lacks(mut self, pointer: &str) -> Self {
        self.expect_shown(pointer, None);
        self
    }

    /// The last step is refused as invalid, with a message that contains all of this.
    pub fn refused<const N: usize>(self, says: [&str; N]) -> Self {
        self.refused_with(422, says)
    }

    /// The last step is refused with this HTTP status.
    pub fn refused_with<const N: usize>(mut self, status: u16, says: [&str; N]) -> Self {
        self.expected = Expected::Refused(status, says.map(str::to_owned).to_vec());
        self
    }

    /// Is this a row that must be refused?
    pub fn is_refused(&self) -> bool {
        matches!(self.expected, Expected::Refused(..))
    }

    /// The name of its test.
    pub fn test_name(&self) -> String {
        self.name.replace(' ', "_")
    }

    /// Sends it and compares the answer.
    pub async fn check(&self, plane: &ControlPlane) {
        installed(plane).await;
        let client = plane.client();
        let query = format!("?fieldValidation={}", self.validation);
        let mut answer = send(&client, "POST", &query, "", &self.object).await;
        for edit in &self.edits {
            let mut object = answer.expect("every step but the last is taken");
            apply(&mut object, &edit.changes);
            let name = object["metadata"]["name"]
                .as_str()
                .expect("objects have names")
                .to_owned();
            let path = format!("/{name}{}", edit.subresource);
            answer = send(&client, "PUT", &query, &path, &object).await;
        }
        self.compare(answer);
    }

    fn compare(&self, answer: Result<Value, (u16, String)>) {
        match (&self.expected, answer) {
            (Expected::Accepted(shown), Ok(object)) => {
                for (pointer, value) in shown {
                    assert_eq!(
                        object.pointer(pointer),
                        value.as_ref(),
                        "{pointer} in {object:#}"
                    );
                }
                // What the API server stores, the operator can read.
                serde_json::from_value::<FabricJobCancellation>(object)
                    .expect("the operator reads every stored object");
            }
            (Expected::Refused(status, says), Err((code, message))) => {
                assert_eq!(code, *status, "{message}");
                for part in says {
                    assert!(message.contains(part), "{part:?} is not in: {message}");
                }
            }
            (Expected::Accepted(_), Err((code, message))) => panic!("refused ({code}): {message}"),
            (Expected::Refused(..), Ok(object)) => panic!("accepted: {object:#}"),
        }
    }

    fn replace<const N: usize>(mut self, subresource: &'static str, changes: [Change; N]) -> Self {
        self.edits.push(Edit {
            subresource,
            changes: changes.to_vec(),
        });
        self
    }

    fn expect_shown(&mut self, pointer: &str, value: Option<Value>) {
        if let Expected::Accepted(shown) = &mut self.expected {
            shown.push((pointer.to_owned(), value));
        }
    }
}

/// Changes the fields that the pointers name; objects on the way are made.
fn apply(object: &mut Value, changes: &[Change]) {
    for Change { pointer, value } in changes {
        let (parent, field) = pointer
            .rsplit_once('/')
            .expect("a JSON pointer has a slash");
        let mut at = &mut *object;
        for step in parent.split('/').skip(1) {
            at = &mut at[step];
        }
        match value {
            Some(value) => at[field] = value.clone(),
            None => {
                at.as_object_mut()
                    .expect("the parent is an object")
                    .remove(field);
            }
        }
    }
}

/// Sends a request as JSON; the answer is the object, or the HTTP status and the message.
async fn send(
    client: &Client,
    method: &str,
    query: &str,
    path: &str,
    body: &Value,
) -> Result<Value, (u16, String)> {
    let collection = "/apis/fabricjobs.dev/v1alpha1/namespaces/default/fabricjobcancellations";
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{collection}{path}{query}"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(body).expect("a JSON value can be written"))
        .expect("the path is valid");
    match client.request::<Value>(request).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err((status.code, status.message.clone())),
        Err(error) => panic!("{method} {path}: {error}"),
    }
}
