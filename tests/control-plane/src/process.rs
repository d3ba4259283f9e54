//! Server processes that cannot outlive the test process.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::{io, thread};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::error::Error;

/// One server: how it is started, and the process while there is one.
pub(crate) struct Server {
    name: &'static str,
    program: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    state: State,
}

/// What was last done to a server on purpose; it can have died on its own since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Paused,
    Stopped,
}

impl Server {
    /// A server that is not started yet. All its runs write to the end of `log`.
    pub(crate) fn new(name: &'static str, program: PathBuf, log: PathBuf) -> Self {
        Self {
            name,
            program,
            log,
            child: None,
            state: State::Stopped,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The process id while it has been started and not been killed.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Ends the process if there is one, and starts it with these arguments.
    pub(crate) fn start(&mut self, arguments: &[String]) -> Result<(), Error> {
        self.kill()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::file("open", &self.log))?;
        let copy = log.try_clone().map_err(Error::file("open", &self.log))?;
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(log);
        self.child = Some(spawn_tethered(command).map_err(self.failed("start"))?);
        self.state = State::Running;
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone. No error when there is none.
    pub(crate) fn kill(&mut self) -> Result<(), Error> {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .and_then(|()| child.wait())
                .map_err(self.failed("kill"))?;
        }
        self.state = State::Stopped;
        Ok(())
    }

    /// SIGSTOP, and waits until it has taken effect: the process answers nothing, its connections stay open.
    pub(crate) fn pause(&mut self) -> Result<(), Error> {
        let pid = self.living("pause")?;
        let stopped = || -> io::Result<()> {
            rustix::process::kill_process(pid, Signal::STOP)?;
            // EXITED, or a process that died just now would be waited for without end; NOWAIT leaves its exit code to `Child`.
            let either = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            rustix::process::waitid(WaitId::Pid(pid), either)?;
            Ok(())
        };
        stopped().map_err(self.failed("pause"))?;
        self.state = State::Paused;
        Ok(())
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self) -> Result<(), Error> {
        let pid = self.living("resume")?;
        rustix::process::kill_process(pid, Signal::CONT)
            .map_err(io::Error::from)
            .map_err(self.failed("resume"))?;
        self.state = State::Running;
        Ok(())
    }

    /// How it ended, when it ended on its own.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(cannot be read: {error})"))
    }

    /// The process, which must not have been killed, nor have died on its own.
    fn living(&mut self, action: &'static str) -> Result<Pid, Error> {
        let state = if self.child.is_none() {
            "not running"
        } else if self.ended().is_some() {
            "dead"
        } else {
            let id = self
                .child
                .as_ref()
                .map(Child::id)
                .and_then(|id| i32::try_from(id).ok());
            return Ok(id
                .and_then(Pid::from_raw)
                .expect("a process id is a positive i32"));
        };
        Err(Error::State {
            action,
            server: self.name,
            state,
        })
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
        let server = self.name;
        move |source| Error::Process {
            action,
            server,
            source,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("control plane: {error}");
        }
    }
}

/// Starts a process that the kernel kills when this process ends, however it ends.
pub fn spawn_tethered(command: Command) -> io::Result<Child> {
    let (answer, started) = mpsc::channel();
    spawner()
        .send((command, answer))
        .expect("the spawner thread never ends");
    started
        .recv()
        .expect("the spawner thread answers every request")
}

type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// The thread that starts all processes.
///
/// Linux sends the parent-death signal when the *thread* that forked ends. A test's thread ends with
/// the test, so processes are started by a thread that lives as long as this process.
fn spawner() -> mpsc::Sender<Request> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (command, answer) in inbox {
                    // Nobody waits for the answer any more: the dropped `Child` goes on until our end.
                    let _ = answer.send(spawn_here(command));
                }
            })
            .expect("a thread can be started");
        requests
    });
    spawner.clone()
}

fn spawn_here(mut command: Command) -> io::Result<Child> {
    // Ctrl-C is for the test process; it ends its servers itself.
    command.process_group(0);
    end_with_parent(&mut command);
    command.spawn()
}

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "only code between fork and exec can set the parent-death signal"
)]
fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let set_death_signal = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above; its signal would then never come.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes two
    // system calls (prctl, getppid) and allocates nothing; an `Errno` becomes an `io::Error` as a number.
    unsafe {
        command.pre_exec(set_death_signal);
    }
}

/// Other systems have no parent-death signal: there a killed test leaves its servers behind.
#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Enough for the last dozens of lines, where a server says why it gave up.
const LOG_TAIL: u64 = 6 * 1024;
