//! What goes wrong on the three ways out of a process: to the Kubernetes API, Fabric and Entra.

use std::time::Duration;

use virtual_cluster::api_server::{Arrival, Fault, Verb};

use crate::draw::Draw;

/// What a client of the real API server waits at most for the next byte of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// How bad it is, drawn once for a seed.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Of a thousand requests of each way, so many meet a fault.
    pub kubernetes: u32,
    pub fabric: u32,
    pub entra: u32,
    /// Of a thousand requests so many take time, which is no fault.
    pub slow: u32,
    /// Faults are drawn from these only; few kinds at a time leave room for what follows.
    pub kubernetes_kinds: Vec<KubernetesFault>,
    pub fabric_kinds: Vec<WireFault>,
    pub entra_kinds: Vec<WireFault>,
    /// In these times every request of a way meets the same fault.
    pub outages: Vec<Outage>,
}

/// A time in which a way is out.
#[derive(Clone, Debug)]
pub struct Outage {
    pub from: Duration,
    pub until: Duration,
    pub what: Out,
}

/// Which way is out, and how it shows.
#[derive(Clone, Copy, Debug)]
pub enum Out {
    Kubernetes(KubernetesFault),
    Fabric(WireFault),
    Entra(WireFault),
}

/// What can happen to a request to the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesFault {
    LoseRequest,
    LoseAnswer,
    Late,
    Hang,
    HangAfterwards,
    EditedFirst,
    Answer(u16),
}

impl KubernetesFault {
    pub const ALL: [Self; 11] = [
        Self::LoseRequest,
        Self::LoseAnswer,
        Self::Late,
        Self::Hang,
        Self::HangAfterwards,
        Self::EditedFirst,
        Self::Answer(500),
        Self::Answer(503),
        Self::Answer(429),
        Self::Answer(409),
        Self::Answer(403),
    ];
}

/// What can happen to a request to Fabric or Entra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFault {
    /// It never arrives; the connection breaks.
    LoseRequest,
    /// It is processed; the connection breaks before the answer.
    LoseAnswer,
    /// It arrives much later, and the client may have gone by then.
    Late,
    /// It never arrives, and nothing comes back.
    Hang,
    /// It is processed, and nothing comes back.
    HangAfterwards,
    /// It is processed; of the answer only the head arrives.
    Cut,
    /// Something in between answers; it never arrives.
    Instead(Answer),
    /// It is processed, and something in between answers.
    Afterwards(Answer),
    /// The operator's code panics where it would have been sent.
    Panic,
    /// It is processed, and the operator's code panics when the answer is there.
    PanicAfterwards,
}

/// An answer that is not Fabric's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub code: Option<&'static str>,
    pub retry_after: Hint,
    pub html: bool,
}

/// A `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    Absent,
    Seconds(u32),
    /// As an HTTP date, so many seconds from now.
    Date(u32),
    /// What nobody can read.
    Nonsense,
    Negative,
}

impl Answer {
    const fn new(status: u16) -> Self {
        Self {
            status,
            code: None,
            retry_after: Hint::Absent,
            html: false,
        }
    }

    const fn coded(status: u16, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..Self::new(status)
        }
    }

    const fn hint(self, retry_after: Hint) -> Self {
        Self {
            retry_after,
            ..self
        }
    }

    const fn html(status: u16) -> Self {
        Self {
            html: true,
            ..Self::new(status)
        }
    }
}

/// Faults of the way to Fabric.
pub const FABRIC: &[WireFault] = &[
    WireFault::LoseRequest,
    WireFault::LoseAnswer,
    WireFault::LoseAnswer,
    WireFault::Late,
    WireFault::Hang,
    WireFault::HangAfterwards,
    WireFault::Cut,
    WireFault::Panic,
    WireFault::PanicAfterwards,
    WireFault::Instead(Answer::coded(429, "RequestBlocked").hint(Hint::Seconds(30))),
    WireFault::Instead(Answer::coded(429, "RequestBlocked").hint(Hint::Seconds(0))),
    WireFault::Instead(Answer::coded(429, "RequestBlocked").hint(Hint::Seconds(1800))),
    WireFault::Instead(Answer::coded(429, "RequestBlocked").hint(Hint::Date(90))),
    WireFault::Instead(Answer::coded(429, "RequestBlocked").hint(Hint::Nonsense)),
    WireFault::Instead(Answer::coded(429, "RequestBlocked").hint(Hint::Negative)),
    WireFault::Instead(Answer::new(429)),
    WireFault::Instead(Answer::new(430)),
    WireFault::Instead(Answer::new(430).hint(Hint::Seconds(45))),
    WireFault::Instead(Answer::new(503).hint(Hint::Seconds(20))),
    WireFault::Instead(Answer::new(500)),
    WireFault::Instead(Answer::html(502)),
    WireFault::Instead(Answer::html(200)),
    WireFault::Instead(Answer::html(404)),
    WireFault::Instead(Answer::new(302)),
    WireFault::Instead(Answer::coded(401, "TokenExpired")),
    WireFault::Instead(Answer::coded(403, "InsufficientPrivileges")),
    WireFault::Instead(Answer::coded(404, "CapacityNotActive")),
    WireFault::Instead(Answer::coded(404, "ItemNotFound")),
    WireFault::Afterwards(Answer::new(500)),
    WireFault::Afterwards(Answer::html(502)),
    WireFault::Afterwards(Answer::new(503).hint(Hint::Seconds(20))),
    WireFault::Afterwards(Answer::new(504)),
];

/// Faults of the way to Entra.
pub const ENTRA: &[WireFault] = &[
    WireFault::LoseRequest,
    WireFault::LoseAnswer,
    WireFault::Late,
    WireFault::Hang,
    WireFault::HangAfterwards,
    WireFault::Cut,
    WireFault::Panic,
    WireFault::Instead(Answer::new(429).hint(Hint::Seconds(30))),
    WireFault::Instead(Answer::new(429)),
    WireFault::Instead(Answer::new(500)),
    WireFault::Instead(Answer::html(502)),
    WireFault::Instead(Answer::new(503).hint(Hint::Seconds(20))),
    WireFault::Afterwards(Answer::new(504)),
];

impl Weather {
    /// Draws for a run whose faults end at `calm`.
    pub fn draw(draw: &mut Draw, calm: Duration) -> Self {
        let rate = |draw: &mut Draw| draw.pick(&[0, 0, 20, 60, 150, 400]);
        let some = |draw: &mut Draw, all: &[WireFault]| {
            (0..draw.pick(&[1, 2, 4, 8]))
                .map(|_| draw.pick(all))
                .collect::<Vec<_>>()
        };
        let outages = (0..draw.pick(&[0, 0, 1, 2, 4]))
            .map(|_| {
                let from = draw.span(calm);
                let until = (from + draw.span(calm)).min(calm);
                let what = match draw.below(4) {
                    0 | 1 => Out::Kubernetes(draw.pick(&[
                        KubernetesFault::LoseRequest,
                        KubernetesFault::Hang,
                        KubernetesFault::LoseAnswer,
                        KubernetesFault::Answer(500),
                        KubernetesFault::Answer(403),
                    ])),
                    2 => Out::Fabric(draw.pick(FABRIC)),
                    _ => Out::Entra(draw.pick(ENTRA)),
                };
                Outage { from, until, what }
            })
            .collect();
        Self {
            kubernetes: rate(draw),
            fabric: rate(draw),
            entra: rate(draw) / 2,
            slow: draw.pick(&[0, 300, 800]),
            kubernetes_kinds: (0..draw.pick(&[1, 2, 4, 8]))
                .map(|_| draw.pick(&KubernetesFault::ALL))
                .collect(),
            fabric_kinds: some(draw, FABRIC),
            entra_kinds: some(draw, ENTRA),
            outages,
        }
    }

    /// Nothing goes wrong, and nothing takes time.
    pub fn fair() -> Self {
        Self {
            kubernetes: 0,
            fabric: 0,
            entra: 0,
            slow: 0,
            kubernetes_kinds: Vec::new(),
            fabric_kinds: Vec::new(),
            entra_kinds: Vec::new(),
            outages: Vec::new(),
        }
    }

    fn out(&self, now: Duration) -> impl Iterator<Item = Out> {
        self.outages
            .iter()
            .filter(move |outage| outage.from <= now && now < outage.until)
            .map(|outage| outage.what)
    }

    /// What happens to this request to the Kubernetes API.
    pub fn kubernetes(&self, draw: &mut Draw, now: Duration, to: Arrival<'_>) -> Option<Fault> {
        let outage = self.out(now).find_map(|out| match out {
            Out::Kubernetes(fault) => Some(fault),
            Out::Fabric(_) | Out::Entra(_) => None,
        });
        let drawn = draw.permille(self.kubernetes);
        let Some(fault) = outage.or_else(|| drawn.then(|| draw.pick(&self.kubernetes_kinds)))
        else {
            return self.slow(draw).map(|(to, back)| Fault::Slow(to, back));
        };
        let reads = matches!(to.verb, Verb::List | Verb::Watch);
        let edits = to.name.is_some() && to.resource.starts_with("fabricjobcancellations");
        Some(match fault {
            // kube's own machinery has no deadline for these; the connection has.
            KubernetesFault::Hang | KubernetesFault::HangAfterwards if reads => {
                Fault::LoseAfter(READ_TIMEOUT)
            }
            KubernetesFault::LoseRequest => Fault::LoseRequest,
            KubernetesFault::LoseAnswer => Fault::LoseAnswer,
            KubernetesFault::Late => {
                Fault::Late(draw.between(Duration::ZERO, Duration::from_secs(20)))
            }
            KubernetesFault::Hang => Fault::Hang,
            KubernetesFault::HangAfterwards => Fault::HangAfterwards,
            KubernetesFault::EditedFirst if edits => Fault::EditedFirst,
            KubernetesFault::EditedFirst | KubernetesFault::Answer(409) if reads => {
                Fault::Answer(500)
            }
            KubernetesFault::EditedFirst => return None,
            KubernetesFault::Answer(code) => Fault::Answer(code),
        })
    }

    /// What happens to this request to Fabric or Entra.
    pub fn wire(&self, draw: &mut Draw, now: Duration, entra: bool) -> Option<WireFault> {
        let outage = self.out(now).find_map(|out| match (out, entra) {
            (Out::Fabric(fault), false) | (Out::Entra(fault), true) => Some(fault),
            _ => None,
        });
        let (rate, kinds) = if entra {
            (self.entra, &self.entra_kinds)
        } else {
            (self.fabric, &self.fabric_kinds)
        };
        let drawn = draw.permille(rate);
        outage.or_else(|| drawn.then(|| draw.pick(kinds)))
    }

    /// How long a request and its answer travel.
    pub fn slow(&self, draw: &mut Draw) -> Option<(Duration, Duration)> {
        let longest = draw.pick(&[Duration::from_millis(40), Duration::from_secs(2)]);
        draw.permille(self.slow).then(|| {
            (
                draw.between(Duration::ZERO, longest),
                draw.between(Duration::ZERO, longest),
            )
        })
    }
}
