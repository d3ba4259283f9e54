//! What a state of the protocol's model holds.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::time::Duration;

use fabric_job_operator::cancellation::{Cancellation, Facts, Identity, JobInstance, Wish, later};
use jiff::Timestamp;
use uuid::Uuid;

use crate::shared::Shared;

use super::rules::Broken;

/// Seconds since the model's beginning. Everything happens at whole seconds, the resolution of a
/// stored time.
pub type Second = u32;

/// The moment `second` on the production code's time line.
pub fn at(second: Second) -> Timestamp {
    let start = Timestamp::from_second(1_800_000_000).expect("it is in this century");
    later(start, Duration::from_secs(second.into()))
}

/// The first second not before `moment`; later than any other for the end of time.
pub fn second(moment: Timestamp) -> Second {
    let since = moment.duration_since(at(0));
    let up = i64::from(since.subsec_nanos() > 0);
    Second::try_from((since.as_secs() + up).max(0)).unwrap_or(Second::MAX)
}

/// One of the identities that a credential source may name from visit to visit.
pub fn identity(number: u8) -> Identity {
    Identity {
        source: "Secret".into(),
        name: "fabric-credentials".into(),
        tenant_id: "tenant".into(),
        client_id: format!("client-{number}"),
    }
}

/// The wish as its author first applies it.
pub fn wish(deadline: Second) -> Wish {
    Wish {
        job: JobInstance {
            workspace_id: Uuid::from_u128(1),
            item_id: Uuid::from_u128(2),
            job_instance_id: Uuid::from_u128(3),
        },
        generation: 1,
        created: at(0),
        deleting: false,
        suspend: false,
        active_deadline: Duration::from_secs(deadline.into()),
        finished_is_success: true,
        missing_is_success: false,
        ttl: None,
    }
}

/// One stored edition of what bears the resource's name. Its place in the history is its
/// resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edition {
    /// Which object: a re-created one is another.
    pub uid: u8,
    /// False where the object was removed.
    pub present: bool,
    /// The spec and what the metadata says of it.
    pub wish: Wish,
    /// The status.
    pub facts: Facts,
}

/// In place of a replica: a process that is gone, or a write that nobody awaits.
pub const NOBODY: u8 = u8::MAX;

/// The run at Fabric. A look shows the first two alike. When a run ends is decided when
/// somebody asks: until then nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// Nobody asked it to stop.
    Running,
    /// A request was accepted.
    Cancelling,
    /// Ended by a cancellation.
    Cancelled,
    /// Ended by itself.
    Completed,
}

/// A cancel request under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    /// Which replica's process sent it; [`NOBODY`] once that process is gone.
    pub from: u8,
    /// For which object.
    pub uid: u8,
    /// Under which intent.
    pub attempt: u32,
}

/// What a replica's one visit is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// Between visits.
    Nothing,
    /// The intent is stored, the request not yet written.
    Send {
        /// Whose token the shell holds.
        identity: u8,
        /// The moment from which the intent's licence runs.
        from: Second,
        /// A 401 was met before, under this very intent.
        again: bool,
    },
    /// The request was written.
    Await {
        /// As in [`Doing::Send`].
        identity: u8,
        /// As in [`Doing::Send`].
        from: Second,
        /// As in [`Doing::Send`].
        again: bool,
        /// The answer is awaited until here.
        until: Second,
    },
    /// About to write what is due.
    Record,
}

/// What a process knows of the resource beyond its cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// What the production core made of it.
    pub core: Shared<Cancellation>,
    /// Since this moment the cache is known to lag behind.
    pub read_live_at: Option<Second>,
}

/// One replica of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The newest edition that it works on: of its cache, or its own last answer. The cache may
    /// be ahead of it; which edition it shows is decided when a visit begins. After a restart it
    /// may be any.
    pub seen: u8,
    /// What it knows.
    pub known: Option<Known>,
    /// Whether its fence is open: it leads, and its lease is good for a send.
    pub leads: bool,
    /// What it is about to do.
    pub doing: Doing,
    /// For the rules: until when Fabric asked this process to stay away.
    pub asked_until: Second,
    /// For the rules: whether this process saw the job running since the latest intent.
    pub saw_running: bool,
}

/// The latest intent, for the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LastIntent {
    /// Of which object.
    pub uid: u8,
    /// Its number.
    pub attempt: u32,
    /// Whose it was; [`NOBODY`] once that process is gone.
    pub by: u8,
    /// When it was made.
    pub at: Second,
    /// Whether that process knows that it did nothing.
    pub harmless: bool,
}

/// What may still go wrong, and how often people may still act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Processes that die at any point.
    pub crashes: u8,
    /// Requests to Fabric, or their answers, that get lost.
    pub losses: u8,
    /// Status writes that get lost, whose answers get lost, or that arrive late.
    pub write_losses: u8,
    /// Leases that are lost or handed over.
    pub moves: u8,
    /// Times at which everything stands still, longer than a licence.
    pub pauses: u8,
    /// Answers that refuse definitely, and looks that fail.
    pub refusals: u8,
    /// Looks that show an older state of the job.
    pub stale_looks: u8,
    /// Things that people do to the resource.
    pub edits: u8,
    /// Times that the credential source names another identity.
    pub identities: u8,
}

/// What only the rules need to remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ghost {
    /// Rules that were broken on the way here.
    pub broken: Broken,
    /// Requests that Fabric processed: object and attempt.
    pub processed: Vec<(u8, u32)>,
    /// The latest intent.
    pub intent: Option<LastIntent>,
    /// Repeats of accepted requests of the present object.
    pub repeats: u8,
    /// The last readable look for the present object after its deadline.
    pub looked_late: Option<Second>,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The time.
    pub now: Second,
    /// All stored editions.
    pub history: Vec<Shared<Edition>>,
    /// Two replicas.
    pub replicas: [Replica; 2],
    /// Cancel requests under way.
    pub flights: Vec<Flight>,
    /// Status writes under way whose writer gave up: on top of which edition, and which.
    pub late_writes: Vec<(u8, Shared<Edition>)>,
    /// The run.
    pub run: Run,
    /// The identity that the credential source names now.
    pub identity: u8,
    /// What was used up of the budget.
    pub spent: Budget,
    /// For the rules.
    pub ghost: Ghost,
}

impl World {
    /// Two replicas are alike: the one that leads is the first, whichever it was. This halves
    /// what has to be explored.
    pub fn sort(&mut self) {
        let [first, second] = &self.replicas;
        let swap = match (first.leads, second.leads) {
            (true, false) => false,
            (false, true) => true,
            _ => hash(first) > hash(second),
        };
        if !swap {
            return;
        }
        self.replicas.swap(0, 1);
        let other = |by: u8| if by == NOBODY { by } else { 1 - by };
        for flight in &mut self.flights {
            flight.from = other(flight.from);
        }
        if let Some(intent) = &mut self.ghost.intent {
            intent.by = other(intent.by);
        }
    }

    /// The newest edition's number.
    pub fn tip(&self) -> u8 {
        u8::try_from(self.history.len() - 1).expect("budgets keep the history short")
    }

    /// The newest edition.
    pub fn newest(&self) -> &Edition {
        self.history.last().expect("it begins with one")
    }

    /// Requests of the present object that Fabric processed.
    pub fn processed(&self) -> usize {
        let uid = self.newest().uid;
        self.ghost
            .processed
            .iter()
            .filter(|(of, _)| *of == uid)
            .count()
    }
}

fn hash(replica: &Replica) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(replica)
}
