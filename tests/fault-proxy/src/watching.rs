//! The events of a watch on their way to the client: one line of JSON each.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::call::{Call, Verb};
use crate::clock;
use crate::exchange::{Body, run};
use crate::fault::{Fault, Loss};
use crate::proxy::Shared;
use crate::record::Step;

type Pieces = mpsc::Sender<Result<Frame<Bytes>, io::Error>>;

/// What becomes of the watch after an event.
enum Then {
    GoOn,
    /// It ends as a server ends it.
    End,
    /// The connection stays open, and nothing comes any more.
    Silence,
}

/// The answer's body of the watch that `opening` asked for.
pub(crate) fn body(shared: Arc<Shared>, opening: Step, upstream: Incoming) -> Body {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(pass_on(shared, opening, upstream, sender));
    let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    StreamBody::new(pieces).boxed_unsync()
}

async fn pass_on(shared: Arc<Shared>, opening: Step, mut upstream: Incoming, client: Pieces) {
    let mut expirations = shared.expirations();
    let mut buffer = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = upstream.frame() => frame,
            _ = expirations.changed() => {
                let _ = client.send(Ok(Frame::data(gone()))).await;
                return;
            }
            () = client.closed() => return,
        };
        let Some(Ok(frame)) = frame else {
            return;
        };
        buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1).freeze();
            shared.until_open().await;
            match event(&shared, &opening, &line, &client).await {
                Then::GoOn => {}
                Then::End => return,
                Then::Silence => {
                    client.closed().await;
                    return;
                }
            }
        }
    }
}

/// One event: recorded, then passed on as the rules say.
async fn event(shared: &Shared, opening: &Step, line: &Bytes, client: &Pieces) -> Then {
    let json: Value = serde_json::from_slice(line).unwrap_or_default();
    let step = shared.recorder.arrive(|sequence, time| Step {
        sequence,
        time,
        end_time: None,
        proxy: shared.name.clone(),
        connection: opening.connection,
        call: Call {
            verb: Verb::Event,
            resource: opening.call.resource.clone(),
            namespace: opening.call.namespace.clone(),
            name: text(&json["object"]["metadata"]["name"]),
            subresource: text(&json["type"]),
        },
        uri: opening.uri.clone(),
        headers: http::HeaderMap::new(),
        body: line.clone(),
        answers: Vec::new(),
        deliveries: 0,
        reached: false,
        fault: None,
        watch: Some(opening.sequence),
    });
    let Some(met) = shared.meet(&step) else {
        return send(shared, &step, line.clone(), client).await;
    };
    run(met.before.as_ref(), &step).await;
    let then = match met.fault {
        Fault::Lose(Loss::Silent) => Then::GoOn,
        Fault::Lose(Loss::Hang) | Fault::LoseAnswer(Loss::Hang) => Then::Silence,
        Fault::Lose(_) | Fault::LoseAnswer(_) | Fault::ArriveLate(_) => broken(client).await,
        Fault::Cut(most) => {
            let part = line.slice(..most.min(line.len() - 1));
            send(shared, &step, part, client).await;
            // Or the reset could overtake the part.
            clock::sleep(std::time::Duration::from_millis(20)).await;
            broken(client).await
        }
        Fault::Expire | Fault::Answer(_) => {
            let _ = client.send(Ok(Frame::data(gone()))).await;
            Then::End
        }
        Fault::Duplicate => {
            send(shared, &step, line.clone(), client).await;
            send(shared, &step, line.clone(), client).await
        }
        Fault::Delay(delay) => {
            clock::sleep(delay).await;
            send(shared, &step, line.clone(), client).await
        }
        Fault::Slice(size, pause) => {
            for piece in line.chunks(size.max(1)) {
                clock::sleep(pause).await;
                let piece = Bytes::copy_from_slice(piece);
                let _ = client.send(Ok(Frame::data(piece))).await;
            }
            Then::GoOn
        }
        Fault::None | Fault::Via(_) => send(shared, &step, line.clone(), client).await,
    };
    run(met.after.as_ref(), &step).await;
    then
}

async fn send(shared: &Shared, step: &Step, bytes: Bytes, client: &Pieces) -> Then {
    if client.send(Ok(Frame::data(bytes))).await.is_err() {
        return Then::End;
    }
    shared.recorder.update(step.sequence, |step| {
        step.deliveries += 1;
        step.end_time = Some(clock::now());
    });
    Then::GoOn
}

async fn broken(client: &Pieces) -> Then {
    let _ = client
        .send(Err(io::ErrorKind::ConnectionReset.into()))
        .await;
    Then::End
}

/// What an API server says when it has forgotten the version that a watch is at.
fn gone() -> Bytes {
    let status = json!({
        "type": "ERROR",
        "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410,
        },
    });
    format!("{status}\n").into()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
