//! Reads the audit log's files as they grow.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{AuditEntry, MARKER, Stage};
use crate::error::Error;

/// One file for each start of kube-apiserver, and what was read of them so far.
#[derive(Default)]
pub(crate) struct Logs {
    files: Vec<LogFile>,
    entries: Vec<AuditEntry>,
    /// Where in `entries` a request is. An id is unique within one start only if the client sent none.
    places: HashMap<String, usize>,
    /// Where in `entries` the requests of the running server begin.
    current: usize,
}

struct LogFile {
    path: PathBuf,
    /// Bytes read, all of them complete lines.
    read: u64,
}

impl Logs {
    /// The path of a new file, for a new start of the server.
    pub(crate) fn begin(&mut self, folder: &Path) -> PathBuf {
        // What the last server left behind is read before its requests are counted as old ones;
        // a log that cannot be read fails the next `read`.
        let _ = self.read();
        self.current = self.entries.len();
        self.places.clear();
        let path = folder.join(format!("audit-{}.log", self.files.len() + 1));
        self.files.push(LogFile {
            path: path.clone(),
            read: 0,
        });
        path
    }

    /// Takes in what was written since the last call. Only the last file can still grow.
    pub(crate) fn read(&mut self) -> Result<(), Error> {
        let Some(file) = self.files.last_mut() else {
            return Ok(());
        };
        let new = file.new_lines().map_err(Error::file("read", &file.path))?;
        let path = file.path.clone();
        for line in new.lines() {
            let event = serde_json::from_str::<Event>(line).map_err(|source| Error::AuditLine {
                path: path.clone(),
                line: line.to_owned(),
                source,
            })?;
            self.take(event);
        }
        Ok(())
    }

    /// All requests but our own markers.
    pub(crate) fn entries(&self) -> Vec<AuditEntry> {
        self.entries
            .iter()
            .filter(|entry| !entry.request_uri.starts_with(MARKER))
            .cloned()
            .collect()
    }

    /// The requests that the running server received before this marker and has not answered.
    /// `None`: the marker is not there yet.
    pub(crate) fn unanswered_before(&self, marker: &str) -> Option<Vec<AuditEntry>> {
        let running = &self.entries[self.current..];
        let place = running
            .iter()
            .position(|entry| entry.request_uri == marker)?;
        Some(
            running[..place]
                .iter()
                .filter(|entry| entry.stage == Stage::RequestReceived)
                .cloned()
                .collect(),
        )
    }

    fn take(&mut self, event: Event) {
        let entry = AuditEntry::from(event);
        match self.places.get(&entry.id) {
            Some(&place) => self.entries[place] = entry,
            None => {
                self.places.insert(entry.id.clone(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }
}

impl LogFile {
    /// The complete lines behind what was read; a line that is still being written waits for the next call.
    fn new_lines(&mut self) -> std::io::Result<String> {
        let mut file = match File::open(&self.path) {
            // The server makes it with its first request.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let complete = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        bytes.truncate(complete);
        self.read += u64::try_from(complete).expect("a file's length fits into 64 bits");
        String::from_utf8(bytes).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
    }
}

/// `audit.k8s.io/v1` `Event`, as far as it is read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    #[serde(default)]
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    request_object: Option<Value>,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        let ended = matches!(event.stage, Stage::ResponseComplete | Stage::Panic);
        Self {
            id: event.audit_id,
            stage: event.stage,
            user: event.user.username,
            impersonated_user: event.impersonated_user.map(|user| user.username),
            verb: event.verb,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            request_uri: event.request_uri,
            code: event.response_status.and_then(|status| status.code),
            user_agent: event.user_agent,
            received: event.request_received_timestamp,
            completed: ended.then_some(event.stage_timestamp),
            request_object: event.request_object,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(id: &str, stage: &str, uri: &str) -> String {
        format!(
            r#"{{"auditID":"{id}","stage":"{stage}","requestURI":"{uri}","verb":"get","user":{{"username":"jane"}},"requestReceivedTimestamp":"2026-11-23T22:00:00.000001Z","stageTimestamp":"2026-11-23T22:00:00.100000Z"}}"#
        )
    }

    fn append(path: &Path, text: &str) {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn stages(logs: &Logs) -> Vec<(String, Stage)> {
        logs.entries()
            .into_iter()
            .map(|entry| (entry.request_uri, entry.stage))
            .collect()
    }

    #[test]
    fn a_line_that_is_still_being_written_is_read_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = Logs::default();
        let path = logs.begin(folder.path());
        logs.read().unwrap();
        let second = line("2", "ResponseComplete", "/b");
        append(
            &path,
            &format!("{}\n{}", line("1", "ResponseComplete", "/a"), &second[..20]),
        );
        logs.read().unwrap();
        assert_eq!(stages(&logs), [("/a".to_owned(), Stage::ResponseComplete)]);

        append(&path, &format!("{}\n", &second[20..]));
        logs.read().unwrap();
        assert_eq!(
            stages(&logs),
            [
                ("/a".to_owned(), Stage::ResponseComplete),
                ("/b".to_owned(), Stage::ResponseComplete)
            ]
        );
    }

    #[test]
    fn a_request_before_the_marker_is_waited_for_a_watch_and_a_later_one_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = Logs::default();
        let path = logs.begin(folder.path());
        let marker = format!("{MARKER}1");
        let received = [
            line("1", "RequestReceived", "/slow"),
            line("2", "RequestReceived", "/watch"),
            line("2", "ResponseStarted", "/watch"),
        ];
        append(&path, &format!("{}\n", received.join("\n")));
        logs.read().unwrap();
        assert_eq!(logs.unanswered_before(&marker), None);

        append(
            &path,
            &format!("{}\n", line("3", "ResponseComplete", &marker)),
        );
        append(
            &path,
            &format!("{}\n", line("4", "RequestReceived", "/later")),
        );
        logs.read().unwrap();
        let open = logs.unanswered_before(&marker).unwrap();
        assert_eq!(
            open.iter()
                .map(|entry| entry.request_uri.as_str())
                .collect::<Vec<_>>(),
            ["/slow"]
        );

        append(
            &path,
            &format!("{}\n", line("1", "ResponseComplete", "/slow")),
        );
        logs.read().unwrap();
        assert_eq!(logs.unanswered_before(&marker), Some(Vec::new()));
    }

    #[test]
    fn a_request_that_a_killed_server_never_answered_is_kept_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = Logs::default();
        let path = logs.begin(folder.path());
        append(
            &path,
            &format!("{}\n", line("1", "RequestReceived", "/lost")),
        );

        let path = logs.begin(folder.path());
        let marker = format!("{MARKER}1");
        append(
            &path,
            &format!("{}\n", line("2", "ResponseComplete", &marker)),
        );
        logs.read().unwrap();
        assert_eq!(logs.unanswered_before(&marker), Some(Vec::new()));
        assert_eq!(
            stages(&logs),
            [("/lost".to_owned(), Stage::RequestReceived)]
        );
    }
}
