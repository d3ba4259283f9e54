//! A watch: changes as they become visible, one JSON line each.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use futures::stream;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Shared,
    answer::Refusal,
    request::{Info, Kind},
    store::{Change, Event},
};

/// kube-apiserver sends bookmarks about once a minute.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// How watches behave now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mood {
    /// A change is seen this much later than it was made.
    pub lag: Duration,
    /// Nothing is seen at all.
    pub frozen: bool,
    /// Nothing is seen that is newer than this version: the API server has fallen behind.
    pub stale: Option<u64>,
    /// How often each open watch was made to repeat an event, and which one: so many before the
    /// latest that it has sent.
    pub repeat: (u64, usize),
    /// Watches that began in an earlier era have ended.
    pub era: u64,
}

struct Watch {
    shared: Arc<Shared>,
    kind: &'static Kind,
    namespace: Option<String>,
    name: Option<String>,
    position: u64,
    era: u64,
    repeated: u64,
    ends: Timestamp,
    bookmark: Option<Timestamp>,
}

enum Next {
    Line(Value),
    LastLine(Value),
    Until(Timestamp),
    End,
}

/// The body of the answer to a watch request.
pub fn body(shared: Arc<Shared>, kind: &'static Kind, info: &Info) -> Result<Body, Refusal> {
    if info.query.contains_key("sendInitialEvents") {
        return Err(Refusal::new(
            422,
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        ));
    }
    let position = match info.query.get("resourceVersion").map(String::as_str) {
        None | Some("" | "0") => {
            return Err(Refusal::new(
                400,
                "this server begins watches at a resourceVersion only",
            ));
        }
        Some(version) => version
            .parse()
            .map_err(|_| Refusal::new(400, format!("invalid resource version {version:?}")))?,
    };
    let now = shared.calendar.now();
    let seconds = info
        .query
        .get("timeoutSeconds")
        .and_then(|text| text.parse().ok());
    let Mood { era, repeat, .. } = *shared.mood.borrow();
    let watch = Watch {
        kind,
        namespace: info.namespace.clone(),
        name: selected_name(info)?,
        position,
        era,
        repeated: repeat.0,
        ends: now + Duration::from_secs(seconds.unwrap_or(1800)),
        bookmark: (info.query.get("allowWatchBookmarks").map(String::as_str) == Some("true"))
            .then(|| now + BOOKMARK_INTERVAL),
        shared,
    };
    let lines = stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        loop {
            let mut mood = watch.shared.mood.subscribe();
            match watch.next() {
                Next::Line(line) => return Some((bytes(&line), Some(watch))),
                Next::LastLine(line) => return Some((bytes(&line), None)),
                Next::End => return None,
                Next::Until(time) => {
                    tokio::select! {
                        _ = mood.changed() => {}
                        () = watch.shared.calendar.sleep_until(time) => {}
                    }
                }
            }
        }
    });
    Ok(Body::from_stream(lines))
}

/// The one object that `fieldSelector=metadata.name=...` names.
pub fn selected_name(info: &Info) -> Result<Option<String>, Refusal> {
    if info.query.contains_key("labelSelector") {
        return Err(Refusal::new(400, "this server knows no label selectors"));
    }
    match info.query.get("fieldSelector") {
        None => Ok(None),
        Some(selector) => match selector.strip_prefix("metadata.name=") {
            Some(name) => Ok(Some(name.trim_start_matches('=').to_owned())),
            None => Err(Refusal::new(
                400,
                format!("field label not supported: {selector}"),
            )),
        },
    }
}

impl Watch {
    fn shows(&self, event: &Event) -> bool {
        let wanted =
            |wanted: &Option<String>, is: &String| wanted.as_ref().is_none_or(|it| it == is);
        event.key.kind == self.kind
            && wanted(&self.namespace, &event.key.namespace)
            && wanted(&self.name, &event.key.name)
    }

    fn next(&mut self) -> Next {
        let now = self.shared.calendar.now();
        let mood = *self.shared.mood.borrow();
        if mood.era != self.era || now >= self.ends {
            return Next::End;
        }
        let store = self.shared.store();
        if self.position < store.oldest() {
            let refusal = Refusal::expired(self.position, store.oldest());
            return Next::LastLine(json!({"type": "ERROR", "object": refusal.status()}));
        }
        let until = self
            .bookmark
            .map_or(self.ends, |bookmark| bookmark.min(self.ends));
        if mood.frozen {
            return Next::Until(self.ends);
        }
        // Versions grow along the log, so what was seen is skipped without a walk.
        let seen = store
            .log()
            .partition_point(|event| event.version <= self.position);
        if mood.repeat.0 > self.repeated {
            self.repeated = mood.repeat.0;
            // Not of an object that is gone: whoever shows its end again hides its successor.
            let exists = |event: &&Event| {
                let now = store.get(&event.key).ok();
                event.change != Change::Deleted
                    && now
                        .is_some_and(|it| it["metadata"]["uid"] == event.object["metadata"]["uid"])
            };
            let sent = store.log()[..seen].iter().rev();
            let mut sent = sent.filter(|it| self.shows(it)).filter(exists);
            if let Some(event) = sent.nth(mood.repeat.1) {
                return Next::Line(line(event));
            }
        }
        let visible = |event: &&Event| mood.stale.is_none_or(|last| event.version <= last);
        let event = store.log()[seen..]
            .iter()
            .take_while(visible)
            .find(|event| self.shows(event));
        if let Some(event) = event {
            let visible = event.time + mood.lag;
            if visible > now {
                return Next::Until(visible.min(self.ends));
            }
            self.position = event.version;
            return Next::Line(line(event));
        }
        if self.bookmark.is_some_and(|bookmark| now >= bookmark) {
            self.bookmark = Some(now + BOOKMARK_INTERVAL);
            let newest = mood.stale.unwrap_or(store.version());
            self.position = self.position.max(newest.min(store.version()));
            return Next::Line(json!({"type": "BOOKMARK", "object": {
                "apiVersion": self.kind.api_version(),
                "kind": self.kind.kind,
                "metadata": {"resourceVersion": self.position.to_string()},
            }}));
        }
        Next::Until(until)
    }
}

fn line(event: &Event) -> Value {
    let change = match event.change {
        Change::Added => "ADDED",
        Change::Modified => "MODIFIED",
        Change::Deleted => "DELETED",
    };
    json!({"type": change, "object": event.object})
}

fn bytes(line: &Value) -> Result<Bytes, std::convert::Infallible> {
    Ok(Bytes::from(format!("{line}\n")))
}
