//! The end: the resource, the evidence in it, and the Events.

use std::time::Duration;

use fabric_simulator::{Entry, Route};
use serde_json::Value;

use super::Failure;
use super::stage::Stage;
use super::timeline::say;
use crate::{Cancellation, condition, reason};

/// The operator publishes the Event of the end after its write.
const EVENT_LIMIT: Duration = Duration::from_secs(10);

impl Stage {
    /// Shows how each cancellation ended. Fails unless Fabric said Cancelled of each.
    pub(super) async fn report(&self, cancellations: &[Cancellation]) -> Result<(), Failure> {
        let mut otherwise = Vec::new();
        for cancellation in cancellations {
            let resource = self.show(cancellation).await?;
            otherwise.extend(not_cancelled(&cancellation.name, &resource));
        }
        if otherwise.is_empty() {
            say("\nFabric reports the job as Cancelled, and the resource says so.");
            return Ok(());
        }
        Err(Failure(format!(
            "this did not end in Cancelled:\n{}",
            otherwise.join("\n")
        )))
    }

    async fn show(&self, cancellation: &Cancellation) -> Result<Value, Failure> {
        let Cancellation { namespace, name } = cancellation;
        let get = ["-n", namespace, "get", "fjc", name, "-o"];
        let yaml = self.kubectl(&[&get[..], &["yaml"]].concat()).await?;
        say(&format!(
            "\n$ kubectl -n {namespace} get fjc {name} -o yaml\n{}",
            yaml.trim_end()
        ));
        let resource = self.kubectl(&[&get[..], &["json"]].concat()).await?;
        let resource: Value = serde_json::from_str(&resource).expect("kubectl -o json prints JSON");
        self.show_evidence(&resource);

        self.wait_for_event(namespace, reason(&resource, "Ready"))
            .await;
        let columns = "custom-columns=TYPE:.type,REASON:.reason,NOTE:.note";
        let events = [
            "-n",
            namespace,
            "get",
            "events.events.k8s.io",
            "-o",
            columns,
        ];
        let events = self.kubectl(&events).await?;
        say(&format!("\nEvents:\n{}", indented(&events)));
        Ok(resource)
    }

    fn show_evidence(&self, resource: &Value) {
        let status = &resource["status"];
        let identity = &status["identity"];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        say("\nThe evidence:");
        if status["acceptedTime"].is_string() {
            let accepted = |entry: &Entry| status["requestId"] == entry.request_id.to_string();
            let answer = self.fabric.ledger().into_iter().find(accepted);
            let answer = answer.and_then(|entry| entry.status).unwrap_or_default();
            let at = text(&status["acceptedTime"]);
            say(&format!("  accepted   {answer} at {at}"));
            say(&format!("  Location   {}", text(&status["location"])));
            say(&format!("  RequestId  {}", text(&status["requestId"])));
        } else {
            say("  accepted   no");
        }
        say(&format!(
            "  identity   {} {}: client {} of tenant {}",
            text(&identity["source"]),
            text(&identity["name"]),
            text(&identity["clientId"]),
            text(&identity["tenantId"]),
        ));
        say(&format!(
            "  the job    {}, ended at {}",
            text(&status["job"]["status"]),
            text(&status["job"]["endTime"]),
        ));
        say(&format!(
            "  recorded   {} at {}",
            reason(resource, "Ready"),
            text(&status["completionTime"]),
        ));
        let job = text(&resource["spec"]["jobInstanceId"]);
        let requests = |route| {
            let entries = self.fabric.requests(route);
            let of_job = |id: &Option<String>| id.as_deref() == Some(&job);
            entries
                .iter()
                .filter(|e| of_job(&e.job_instance_id))
                .count()
        };
        say(&format!(
            "  requests   {} cancel, {} looks",
            requests(Route::Cancel),
            requests(Route::Job)
        ));
    }

    /// Waits for the Event of the end; one that does not come is seen in what is printed.
    async fn wait_for_event(&self, namespace: &str, reason: &str) {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        let waiting = async {
            loop {
                tick.tick().await;
                let get = ["-n", namespace, "get", "events.events.k8s.io", "-o", "name"];
                let selected = [&get[..], &["--field-selector", &format!("reason={reason}")]];
                let found = self.kubectl(&selected.concat()).await;
                if found.is_ok_and(|names| !names.trim().is_empty()) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(EVENT_LIMIT, waiting).await;
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = self.plane.run_kubectl(arguments).await;
        let output = output.map_err(|error| Failure::to("run kubectl")(error.into()))?;
        if output.is_success() {
            return Ok(output.stdout);
        }
        Err(Failure(format!(
            "kubectl {} failed:\n{}",
            arguments.join(" "),
            output.stderr
        )))
    }
}

/// How a cancellation ended, unless Fabric said Cancelled.
fn not_cancelled(name: &str, resource: &Value) -> Option<String> {
    let ready = condition(resource, "Ready");
    let text = |field: &str| ready[field].as_str().unwrap_or("-");
    let is_cancelled = condition(resource, "Cancelled")["status"] == "True";
    (!is_cancelled).then(|| format!("{name}: {}: {}", text("reason"), text("message")))
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_fabric_called_cancelled_is_a_happy_end() {
        let ended = |cancelled: &str, reason: &str| {
            json!({ "status": { "conditions": [
                { "type": "Ready", "status": "True", "reason": reason, "message": "It is over." },
                { "type": "Cancelled", "status": cancelled, "reason": reason },
            ] } })
        };
        let otherwise = |cancelled, reason| not_cancelled("x", &ended(cancelled, reason));
        assert_eq!(otherwise("True", "JobCancelled"), None);
        // Ready is True here: the policy says that the goal is reached.
        let finished = "x: JobAlreadyFinished: It is over.".to_owned();
        assert_eq!(otherwise("False", "JobAlreadyFinished"), Some(finished));
        let late = "x: DeadlineExceeded: It is over.".to_owned();
        assert_eq!(otherwise("Unknown", "DeadlineExceeded"), Some(late));
        assert_eq!(not_cancelled("x", &json!({})), Some("x: -: -".to_owned()));
    }
}
