//! What the demo leaves behind: nothing, and it looks.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, test_kill_process};

/// The processes and the folders that were made.
#[derive(Default)]
pub(super) struct Traces(Mutex<Made>);

#[derive(Default)]
struct Made {
    processes: Vec<(&'static str, u32)>,
    folders: Vec<PathBuf>,
}

impl Traces {
    pub(super) fn process(&self, name: &'static str, pid: u32) {
        self.made(|made| made.processes.push((name, pid)));
    }

    pub(super) fn folder(&self, folder: PathBuf) {
        self.made(|made| made.folders.push(folder));
    }

    /// What was cleared away, in words; `None` when nothing had been made.
    ///
    /// # Errors
    /// What is still there.
    pub(super) fn left(&self) -> Result<Option<String>, String> {
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        self.made(|made| {
            for (name, pid) in &made.processes {
                let process = pid.cast_signed();
                let lives =
                    Pid::from_raw(process).is_some_and(|pid| test_kill_process(pid).is_ok());
                if lives { &mut left } else { &mut gone }.push(format!("{name} ({pid})"));
            }
            for folder in &made.folders {
                let text = folder.display().to_string();
                // Kept on purpose: it was said where it is.
                let is_kept = std::env::var_os("CONTROL_PLANE_KEEP").is_some_and(|v| v == "1");
                match folder.exists() {
                    true if is_kept => {}
                    true => left.push(text),
                    false => gone.push(text),
                }
            }
        });
        if !left.is_empty() {
            return Err(format!(
                "still there: {}. End or remove it by hand, and please report this",
                left.join(", ")
            ));
        }
        Ok((!gone.is_empty()).then(|| format!("Ended and removed: {}.", gone.join(", "))))
    }

    fn made<T>(&self, act: impl FnOnce(&mut Made) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
