//! The operator's own log, as it would stand on standard error; each run has its own.

use std::{
    cell::RefCell,
    io::{self, Write},
    time::Duration,
};

use fabric_job_operator::telemetry::logs::{self, Filter, Format};
use serde_json::Value;
use virtual_cluster::clock::Calendar;

/// All that our own code has to say, and of the libraries what is logged by default.
const FILTER: &str = "info,fabric_job_operator=trace,hyper=warn,hyper_util=warn,rustls=warn";

/// What is an error of the world around, by the beginning of its message. Everything else that is
/// logged as one is a bug, panics included; those that the weather asks for are not logged.
const ERRORS_OF_THE_WORLD: [&str; 2] = ["not ready: ", "not the leader any more"];

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static CALENDAR: RefCell<Option<Calendar>> = const { RefCell::new(None) };
}

/// One line, and how long after the start it was written.
#[derive(Clone, Debug)]
pub struct Line {
    pub after: Duration,
    pub json: Vec<u8>,
}

/// From now on every thread keeps what the operator logs on it. Panics are logged as the operator
/// logs them, and told on standard error, too.
pub fn keep() {
    let filter = Filter::parse(FILTER).expect("the constant is valid");
    logs::init_to(Format::Json, &filter, || Kept);
    let logged = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("{panic}");
        logged(panic);
    }));
}

/// This thread's lines begin here.
pub fn begin(calendar: Calendar) {
    CALENDAR.set(Some(calendar));
    LINES.take();
}

/// What was logged on this thread since it began.
pub fn lines() -> Vec<Line> {
    LINES.with_borrow(Clone::clone)
}

/// Lines that no fault of the world around explains.
pub fn bugs(lines: &[Line]) -> Vec<String> {
    // Read as JSON only where it can be one: nearly all lines are none.
    let may_be = |line: &&Line| line.json.windows(5).any(|it| it == b"ERROR");
    let bug = |line: &Line| {
        let json: Value = serde_json::from_slice(&line.json).unwrap_or_default();
        let message = json["message"].as_str().unwrap_or_default();
        let explained = ERRORS_OF_THE_WORLD.iter().any(|it| message.starts_with(it));
        (json["level"] == "ERROR" && !explained).then(|| format!("logged: {}", text(&json)))
    };
    lines.iter().filter(may_be).filter_map(bug).collect()
}

impl Line {
    /// As a person reads it, without the time.
    pub fn text(&self) -> String {
        text(&serde_json::from_slice(&self.json).unwrap_or_default())
    }
}

fn text(json: &Value) -> String {
    let word = |name: &str| json[name].as_str().unwrap_or_default();
    let known = ["timestamp", "level", "target", "message"];
    let fields = json.as_object().into_iter().flatten();
    let rest: String = fields
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    format!(
        "{} {}: {}{rest}",
        word("level"),
        word("target"),
        word("message")
    )
}

/// Writes to this thread's lines; each event is written at once.
struct Kept;

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What is logged while the thread ends has no run any more.
        let after = CALENDAR
            .try_with(|it| it.borrow().map(|it| it.elapsed()))
            .ok()
            .flatten();
        if let Some(after) = after {
            LINES.with_borrow_mut(|lines| {
                lines.push(Line {
                    after,
                    json: bytes.to_vec(),
                });
            });
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
