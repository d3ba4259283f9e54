//! A reverse proxy between a client under test and the server that it needs, for tests.
//!
//! It speaks TLS with a certificate of its own [`Authority`], passes requests on to an
//! [`Upstream`], and writes down every request, every answer, every event of a watch and every
//! byte ([`Recorder`]). A [`Rule`] names a step ("the second status write of this object") and the
//! [`Fault`] that it meets: lost before or after delivery, delivered twice or late, held, delayed,
//! sliced, cut, answered by somebody else, an event hidden or repeated. Hooks run when a step is
//! reached: there a test kills the client or changes the world.
//!
//! It knows the paths of the Kubernetes API, of Fabric's jobs and of Entra's tokens by name; it
//! knows nothing of what a client should do.

mod authority;
mod call;
mod clock;
mod exchange;
mod fault;
mod link;
mod proxy;
mod record;
mod upstream;
mod watching;

pub use authority::Authority;
pub use call::{Call, Verb};
pub use fault::{Answer, AnswerBody, Fault, Hold, Hook, Loss, Rule, RuleHandle};
pub use proxy::{Mode, Proxy};
pub use record::{Answered, Capture, Recorder, Step};
pub use upstream::Upstream;
