//! Plain lines: when, who to whom, what, and the answer.

use std::io::{IsTerminal, Write};

use fabric_simulator::{Entry, Outcome, Route};
use jiff::Timestamp;
use serde_json::Value;

use crate::condition;

/// Prints lines with the time that has passed since it began.
pub(super) struct Timeline {
    began: Timestamp,
    in_colour: bool,
}

/// Who speaks to whom.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Apply,
    Status,
    Token,
    Fabric,
}

impl Call {
    fn parties(self) -> (&'static str, &'static str) {
        match self {
            Self::Apply => ("you -> Kubernetes", "36"),
            Self::Status => ("operator -> Kubernetes", "32"),
            Self::Token => ("operator -> Entra", "35"),
            Self::Fabric => ("operator -> Fabric", "33"),
        }
    }
}

impl Timeline {
    pub(super) fn begin() -> Self {
        let in_colour = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        say(&format!(
            "\n{:>7}  {:<22}  {:<65}  {}",
            "TIME", "WHO", "WHAT", "ANSWER"
        ));
        Self {
            began: now(),
            in_colour,
        }
    }

    pub(super) fn line(&self, call: Call, what: &str, answer: &str) {
        let seconds = now().duration_since(self.began).as_secs_f64();
        let (who, colour) = call.parties();
        let who = format!("{who:<22}");
        let who = if self.in_colour {
            format!("\x1b[{colour}m{who}\x1b[0m")
        } else {
            who
        };
        let line = format!("{seconds:>5.1} s  {who}  {what:<65}  {answer}");
        say(line.trim_end());
    }

    /// One request of the simulator's ledger.
    pub(super) fn request(&self, entry: &Entry) {
        let (call, what) = match entry.route {
            Route::Token | Route::OpenIdConfiguration => {
                let client = entry.identity.as_ref().map(|i| i.client_id.as_str());
                let what = format!(
                    "{} a token for client {}",
                    entry.method,
                    client.unwrap_or("?")
                );
                (Call::Token, what)
            }
            Route::Cancel
            | Route::Job
            | Route::JobList
            | Route::Run
            | Route::Workspaces
            | Route::Items
            | Route::Unknown => {
                // The end of the path is what tells requests apart.
                let path = entry
                    .path
                    .split_once("/jobs/")
                    .map_or(&*entry.path, |(_, end)| end);
                (Call::Fabric, format!("{} .../{path}", entry.method))
            }
        };
        let mut answer = match entry.outcome {
            Outcome::Pending | Outcome::Answered => entry
                .status
                .map_or_else(|| "-".into(), |status| status.to_string()),
            Outcome::Dropped => "none, connection closed".to_owned(),
            Outcome::ClientGone => "none, the client was gone".to_owned(),
        };
        if let Some(code) = &entry.error_code {
            answer.push_str(&format!(" {code}"));
        }
        if let Some(seconds) = &entry.retry_after {
            answer.push_str(&format!(", Retry-After: {seconds}"));
        }
        self.line(call, &what, &answer);
    }

    /// The columns of a resource, as `kubectl get` shows them.
    pub(super) fn columns(&self, name: &str, columns: &Columns) {
        let Columns { ready, reason, job } = columns;
        self.line(
            Call::Status,
            &format!("{name}  {ready}  {reason}  {job}"),
            "",
        );
    }
}

/// Ready, Reason and Job Status of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) ready: String,
    pub(super) reason: String,
    pub(super) job: String,
}

impl Columns {
    pub(super) fn of(resource: &Value) -> Self {
        let ready = condition(resource, "Ready");
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        Self {
            ready: text(&ready["status"]),
            reason: text(&ready["reason"]),
            job: text(&resource["status"]["job"]["status"]),
        }
    }
}

/// Prints a line. A reader that has seen enough (`| head`) is no failure.
pub(super) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[expect(
    clippy::disallowed_methods,
    reason = "the timeline tells people how much time has passed"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
