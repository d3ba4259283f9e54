//! One request from arrival to answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::call::{Call, Verb};
use crate::clock;
use crate::fault::{Answer, AnswerBody, Fault, Hook, Loss, Met};
use crate::proxy::Shared;
use crate::record::{Answered, Step};
use crate::upstream::{HOP_BY_HOP, Received};
use crate::watching;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connection ends here: with a reset, if anything of it still arrives.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset, as a rule says")]
pub(crate) struct Reset;

enum Outcome {
    Answered(Response<Body>),
    Reset,
    Hang,
}

impl Shared {
    pub(crate) async fn serve(
        self: Arc<Self>,
        connection: u64,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Reset> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Reset)?.to_bytes();
        self.until_open().await;
        let call = Call::of(&parts.method, &parts.uri);
        let received = Received {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
        };
        let step = self.recorder.arrive(|sequence, time| Step {
            sequence,
            time,
            end_time: None,
            proxy: self.name.clone(),
            connection,
            call,
            uri: received.uri.to_string(),
            headers: received.headers.clone(),
            body: received.body.clone(),
            answers: Vec::new(),
            deliveries: 0,
            reached: false,
            fault: None,
            watch: None,
        });
        let met = self.meet(&step);
        let is_cut = matches!(met.as_ref().map(|met| &met.fault), Some(Fault::Cut(_)));
        // A network does not take a request back because its sender has gone.
        let sequence = step.sequence;
        let outcome = tokio::spawn(Arc::clone(&self).exchange(step, received, met)).await;
        let reached = matches!(outcome, Ok(Outcome::Answered(_)));
        self.recorder.update(sequence, |step| {
            step.reached = reached && !is_cut;
            step.end_time = (step.call.verb != Verb::Watch).then(clock::now);
        });
        match outcome {
            Ok(Outcome::Answered(response)) => Ok(response),
            Ok(Outcome::Hang) => std::future::pending().await,
            Ok(Outcome::Reset) | Err(_) => Err(Reset),
        }
    }

    async fn exchange(
        self: Arc<Self>,
        step: Step,
        received: Received,
        met: Option<Met>,
    ) -> Outcome {
        let Some(met) = met else {
            return self.deliver(&step, &received, None).await;
        };
        run(met.before.as_ref(), &step).await;
        let outcome = match met.fault {
            Fault::Lose(loss) => return lost(loss),
            Fault::ArriveLate(late) => {
                tokio::spawn(async move {
                    clock::sleep(late).await;
                    let _ = self.deliver(&step, &received, None).await;
                    run(met.after.as_ref(), &step).await;
                });
                return Outcome::Reset;
            }
            Fault::Answer(ref answer) => {
                let answered = told(answer);
                self.recorder
                    .update(step.sequence, |step| step.answers.push(answered));
                made_up(answer.clone())
            }
            Fault::Delay(delay) => {
                clock::sleep(delay).await;
                self.deliver(&step, &received, None).await
            }
            Fault::Duplicate => {
                let _ = self.deliver(&step, &received, None).await;
                self.deliver(&step, &received, None).await
            }
            Fault::None | Fault::LoseAnswer(_) | Fault::Expire => {
                self.deliver(&step, &received, None).await
            }
            Fault::Slice(size, pause) => {
                let shape = Shape::Slice(size, pause);
                self.deliver(&step, &received, Some(shape)).await
            }
            Fault::Cut(most) => {
                let shape = Shape::Cut(most);
                self.deliver(&step, &received, Some(shape)).await
            }
            Fault::Via(ref other) => self.deliver_to(other, &step, &received, None).await,
        };
        run(met.after.as_ref(), &step).await;
        match met.fault {
            Fault::LoseAnswer(loss) => lost(loss),
            _ => outcome,
        }
    }

    async fn deliver(
        self: &Arc<Self>,
        step: &Step,
        received: &Received,
        shape: Option<Shape>,
    ) -> Outcome {
        let upstream = self.upstream();
        self.deliver_to(&upstream, step, received, shape).await
    }

    async fn deliver_to(
        self: &Arc<Self>,
        upstream: &crate::Upstream,
        step: &Step,
        received: &Received,
        shape: Option<Shape>,
    ) -> Outcome {
        self.recorder
            .update(step.sequence, |step| step.deliveries += 1);
        // A server that is down refuses; its client learns no more than that the connection broke.
        let Ok(response) = upstream.send(received).await else {
            return Outcome::Reset;
        };
        let (mut parts, body) = response.into_parts();
        for name in HOP_BY_HOP {
            parts.headers.remove(name);
        }
        let answered = |body: Bytes| Answered {
            time: clock::now(),
            status: parts.status.as_u16(),
            headers: parts.headers.clone(),
            body,
            made_up: false,
        };
        if step.call.verb == Verb::Watch && parts.status == StatusCode::OK {
            let answered = answered(Bytes::new());
            self.recorder
                .update(step.sequence, |step| step.answers.push(answered));
            let events = watching::body(Arc::clone(self), step.clone(), body);
            return Outcome::Answered(Response::from_parts(parts, events));
        }
        let Ok(body) = body.collect().await else {
            return Outcome::Reset;
        };
        let body = body.to_bytes();
        let answered = answered(body.clone());
        self.recorder
            .update(step.sequence, |step| step.answers.push(answered));
        Outcome::Answered(Response::from_parts(parts, shaped(body, shape)))
    }
}

pub(crate) async fn run(hook: Option<&Hook>, step: &Step) {
    if let Some(hook) = hook {
        hook(step.clone()).await;
    }
}

fn lost(loss: Loss) -> Outcome {
    match loss {
        Loss::Reset => Outcome::Reset,
        Loss::Hang | Loss::Silent => Outcome::Hang,
    }
}

/// How an answer's body arrives.
#[derive(Clone, Copy)]
enum Shape {
    Slice(usize, Duration),
    Cut(usize),
}

fn shaped(body: Bytes, shape: Option<Shape>) -> Body {
    match shape {
        None => Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync(),
        Some(Shape::Cut(most)) => {
            let part = body.slice(..most.min(body.len()));
            // The pause lets the part get out before the reset overtakes it.
            let pieces = stream::unfold(Some(part), |part| async move {
                if let Some(part) = part {
                    return Some((Ok(Frame::data(part)), None));
                }
                clock::sleep(Duration::from_millis(20)).await;
                Some((Err(io::ErrorKind::ConnectionReset.into()), None))
            });
            StreamBody::new(pieces).boxed_unsync()
        }
        Some(Shape::Slice(size, pause)) => {
            let pieces = stream::unfold(body, move |mut rest| async move {
                if rest.is_empty() {
                    return None;
                }
                clock::sleep(pause).await;
                let piece = rest.split_to(size.max(1).min(rest.len()));
                Some((Ok(Frame::data(piece)), rest))
            });
            StreamBody::new(pieces).boxed_unsync()
        }
    }
}

/// A made-up answer, for the log.
fn told(answer: &Answer) -> Answered {
    let body = match &answer.body {
        AnswerBody::Whole(bytes) | AnswerBody::Endless(bytes, _) => bytes.clone(),
    };
    Answered {
        time: clock::now(),
        status: answer.status,
        headers: headers(answer),
        body,
        made_up: true,
    }
}

fn headers(answer: &Answer) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        let name: HeaderName = name.parse().expect("a valid header name");
        let value = HeaderValue::from_str(value).expect("a valid header value");
        headers.append(name, value);
    }
    headers
}

fn made_up(answer: Answer) -> Outcome {
    let headers = headers(&answer);
    let body = match answer.body {
        AnswerBody::Whole(bytes) => shaped(bytes, None),
        AnswerBody::Endless(bytes, pause) => {
            let pieces = stream::unfold(bytes, move |bytes| async move {
                clock::sleep(pause).await;
                Some((Ok(Frame::data(bytes.clone())), bytes))
            });
            StreamBody::new(pieces).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("a valid HTTP status");
    *response.headers_mut() = headers;
    Outcome::Answered(response)
}
