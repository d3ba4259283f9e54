//! The processes of the operator: started, killed, told to end, started again.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fabric_job_operator::controller;
use jiff::SignedDuration;
use oracles::{Lifecycle, ProcessEvent};
use tokio::task::JoinError;
use virtual_cluster::{
    api_server::{ApiServer, Arrival, Fault},
    clock::{Calendar, pass},
    process::{Broken, GRACE, Process, Replicas, Signals},
};

use crate::{
    draw::Draw,
    plan::{Plan, purpose},
    weather::{Weather, WireFault},
    wire::{Dies, Fate, Wire},
};

/// All processes, and what decides upon their requests. Clones are the same.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    calendar: Calendar,
    server: ApiServer,
    wire: Wire,
    weather: Weather,
    clocks: Vec<SignedDuration>,
    state: Mutex<State>,
}

struct State {
    calm: bool,
    kubernetes: Draw,
    fabric: Draw,
    process: Draw,
    /// Requests of all processes so far, without watches.
    requests: usize,
    crashes: Vec<(usize, bool)>,
    slots: Vec<Slot>,
    events: Vec<ProcessEvent>,
    problems: Vec<String>,
}

/// One replica, as a process after the other.
#[derive(Default)]
struct Slot {
    starts: usize,
    running: Option<(String, Signals)>,
}

impl Cluster {
    pub fn new(plan: &Plan, calendar: Calendar, server: ApiServer, wire: Wire) -> Self {
        let state = State {
            calm: false,
            kubernetes: Draw::new(plan.seed, purpose::KUBERNETES),
            fabric: Draw::new(plan.seed, purpose::WIRE),
            process: Draw::new(plan.seed, purpose::PROCESS),
            requests: 0,
            crashes: plan.crashes.clone(),
            slots: (0..plan.replicas).map(|_| Slot::default()).collect(),
            events: Vec::new(),
            problems: Vec::new(),
        };
        let cluster = Self {
            shared: Arc::new(Shared {
                calendar,
                server: server.clone(),
                wire,
                weather: plan.weather.clone(),
                clocks: plan.clocks.clone(),
                state: Mutex::new(state),
            }),
        };
        let deciding = cluster.clone();
        server.decide(Box::new(move |arrival| deciding.decide_kubernetes(arrival)));
        cluster
    }

    pub fn start_all(&self) {
        let slots = self.state().slots.len();
        (0..slots).for_each(|slot| self.start(slot));
    }

    /// Starts the replica, unless it runs.
    fn start(&self, slot: usize) {
        let mut state = self.state();
        if state.slots[slot].running.is_some() {
            return;
        }
        state.slots[slot].starts += 1;
        let name = format!("operator-{slot}.{}", state.slots[slot].starts);
        let ahead = if state.calm || self.shared.clocks.is_empty() {
            SignedDuration::ZERO
        } else {
            state.process.pick(&self.shared.clocks)
        };
        self.note(&mut state, &name, Lifecycle::Started);
        let way = |cluster: &Self| {
            let (deciding, process) = (cluster.clone(), name.clone());
            cluster
                .shared
                .wire
                .transport(&name, move |entra| deciding.decide_wire(&process, entra))
        };
        let replicas = if state.slots.len() == 1 {
            Replicas::One
        } else {
            Replicas::Several(name.clone(), self.shared.server.client(&name))
        };
        let process = Process::start(
            self.shared.server.client(&name),
            (way(self), way(self)),
            controller::Settings {
                namespace: None,
                concurrency: 32,
                requests_per_minute: NonZeroU32::new(200).expect("not zero"),
            },
            self.shared.calendar.now() + ahead,
            replicas,
        );
        state.slots[slot].running = Some((name.clone(), process.signals().clone()));
        drop(state);
        let cluster = self.clone();
        tokio::spawn(async move {
            let ended = process.ended().await;
            cluster.ended(slot, &name, ended);
        });
    }

    /// A process has ended, whyever.
    fn ended(&self, slot: usize, name: &str, how: Result<Result<(), Broken>, JoinError>) {
        let mut state = self.state();
        let running = &mut state.slots[slot].running;
        if running.as_ref().is_none_or(|(running, _)| running != name) {
            return;
        }
        *running = None;
        let asked =
            |event: &ProcessEvent| event.process == name && event.what == Lifecycle::Terminated;
        let what = match how {
            Ok(Ok(())) if state.events.iter().any(asked) => Lifecycle::Exited,
            // It finished what it had begun.
            Ok(Err(Broken::Leadership(_))) => Lifecycle::Exited,
            other => {
                let problem = format!("{name} ended by itself: {other:?}");
                state.problems.push(problem);
                Lifecycle::Crashed
            }
        };
        self.note(&mut state, name, what);
        self.start_later(&mut state, slot);
    }

    /// Ends the replica in the middle of whatever it does.
    pub fn crash(&self, slot: usize) {
        let mut state = self.state();
        let slot = slot % state.slots.len();
        self.crash_now(&mut state, slot);
    }

    fn crash_now(&self, state: &mut State, slot: usize) {
        let Some((name, signals)) = state.slots[slot].running.take() else {
            return;
        };
        signals.kill();
        self.note(state, &name, Lifecycle::Crashed);
        self.start_later(state, slot);
    }

    fn start_later(&self, state: &mut State, slot: usize) {
        let pause = if state.calm {
            Duration::from_secs(1)
        } else {
            state.process.span(Duration::from_secs(240))
        };
        let cluster = self.clone();
        tokio::spawn(async move {
            pass(pause).await;
            cluster.start(slot);
        });
    }

    /// Tells the replica to end, and kills it when it takes too long.
    pub fn terminate(&self, slot: usize) {
        let mut state = self.state();
        let slot = slot % state.slots.len();
        let Some((name, signals)) = state.slots[slot].running.clone() else {
            return;
        };
        let again = state
            .events
            .iter()
            .any(|event| event.process == name && event.what == Lifecycle::Terminated);
        if again {
            return;
        }
        self.note(&mut state, &name, Lifecycle::Terminated);
        signals.terminate();
        drop(state);
        let cluster = self.clone();
        tokio::spawn(async move {
            pass(GRACE).await;
            let mut state = cluster.state();
            let running = state.slots[slot].running.as_ref();
            if running.is_some_and(|(running, _)| *running == name) {
                cluster.crash_now(&mut state, slot);
            }
        });
    }

    /// No more faults; every replica runs, or will in a second.
    pub fn calm(&self) {
        let mut state = self.state();
        state.calm = true;
        let stopped: Vec<_> = (0..state.slots.len())
            .filter(|slot| state.slots[*slot].running.is_none())
            .collect();
        for slot in stopped {
            self.start_later(&mut state, slot);
        }
    }

    /// Ends every process, and none is started again.
    pub fn end(&self) {
        let mut state = self.state();
        for slot in &mut state.slots {
            if let Some((_, signals)) = slot.running.take() {
                signals.kill();
            }
        }
    }

    pub fn events(&self) -> Vec<ProcessEvent> {
        self.state().events.clone()
    }

    /// What no oracle sees: processes that ended by themselves.
    pub fn problems(&self) -> Vec<String> {
        self.state().problems.clone()
    }

    fn note(&self, state: &mut State, name: &str, what: Lifecycle) {
        state.events.push(ProcessEvent {
            process: name.to_owned(),
            time: self.shared.calendar.now(),
            what,
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .expect("no holder of the lock panics")
    }

    /// Counts a request; kills its process if its number was drawn.
    fn count(&self, state: &mut State, process: &str) -> Option<Dies> {
        state.requests += 1;
        if state.calm {
            return None;
        }
        let number = state.requests;
        let (_, before) = *state.crashes.iter().find(|(drawn, _)| *drawn == number)?;
        let slot = state.slots.iter().position(|slot| {
            let running = slot.running.as_ref();
            running.is_some_and(|(name, _)| name == process)
        })?;
        self.crash_now(state, slot);
        Some(if before { Dies::Before } else { Dies::After })
    }

    fn decide_kubernetes(&self, arrival: Arrival<'_>) -> Option<Fault> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.calm {
            return None;
        }
        if arrival.verb != virtual_cluster::api_server::Verb::Watch {
            match self.count(state, arrival.user) {
                Some(Dies::Before) => return Some(Fault::Hang),
                Some(Dies::After) => return Some(Fault::HangAfterwards),
                None => {}
            }
        }
        let now = self.shared.calendar.elapsed();
        self.shared
            .weather
            .kubernetes(&mut state.kubernetes, now, arrival)
    }

    fn decide_wire(&self, process: &str, entra: bool) -> Fate {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.calm {
            return Fate::default();
        }
        let dies = self.count(state, process);
        if dies.is_some() {
            return Fate {
                dies,
                ..Fate::default()
            };
        }
        let now = self.shared.calendar.elapsed();
        let weather = &self.shared.weather;
        let fault = weather.wire(&mut state.fabric, now, entra);
        let late = fault == Some(WireFault::Late);
        Fate {
            fault,
            late: if late {
                Fate::late(&mut state.fabric)
            } else {
                Duration::ZERO
            },
            travel: weather.slow(&mut state.fabric).unwrap_or_default(),
            dies: None,
        }
    }
}
