//! Fabric's routes over HTTP: who asks, for what, and the headers of the answer.

use uuid::Uuid;

use super::{
    State,
    received::{Processed, Received},
};
use crate::{
    fabric::{Caller, JobRef, Reply, error::FabricError, quota::Bucket},
    route::Route,
    script::{Answer, AnswerBody},
};

pub(super) fn process(received: &Received, state: &State) -> Processed {
    let now = state.clock.now();
    let mut world = state.world();
    let identity = match world.entra.check(received.bearer.as_deref(), now) {
        Ok(identity) => identity,
        Err(error) => return Processed::refused(error),
    };
    let caller = Caller {
        identity: &identity,
        request_id: received.request_id,
        now,
    };
    let call = &received.call;
    let bucket = match call.route() {
        Route::Workspaces | Route::Items => Bucket::Platform,
        _ => Bucket::JobScheduler,
    };
    let fabric = &mut world.fabric;
    let reply = fabric.spend(&caller, bucket).and_then(|()| match call.route() {
        Route::Cancel => fabric.cancel(&caller, job(received)?),
        Route::Job => fabric.look(&caller, job(received)?),
        Route::JobList => {
            let (workspace, item) = item(received)?;
            let token = call.continuation_token.as_deref();
            fabric.list(&caller, workspace, item, token, |token| {
                format!(
                    "{}/v1/workspaces/{workspace}/items/{item}/jobs/instances?continuationToken={token}",
                    received.origin
                )
            })
        }
        Route::Run => {
            let (workspace, item) = item(received)?;
            check_payload(received)?;
            let job_type = call.job_type.as_deref().unwrap_or_default();
            fabric.run(&caller, workspace, item, job_type, state.ids.next())
        }
        Route::Workspaces => Ok(fabric.list_workspaces(&identity)),
        Route::Items => fabric.list_items(&caller, uuid("workspaceId", call.workspace_id.as_ref())?),
        Route::OpenIdConfiguration | Route::Token | Route::Unknown => {
            Err(FabricError::unknown_route())
        }
    });
    match reply {
        Err(error) => {
            let refused = Processed::refused(error);
            Processed {
                answer: common_headers(refused.answer, received),
                ..refused
            }
        }
        Ok(Reply::Accepted { job, retry_after }) => Processed {
            answer: accepted(received, job, retry_after),
            took_effect: true,
            created: (call.route() == Route::Run).then_some(job.job_instance_id),
        },
        Ok(Reply::Found { body, retry_after }) => {
            let mut answer = common_headers(Answer::new(200), received);
            if let Some(seconds) = retry_after {
                answer = answer.header("Retry-After", seconds.to_string());
            }
            answer.body = AnswerBody::Json(body);
            Processed {
                answer,
                took_effect: false,
                created: None,
            }
        }
    }
}

/// \[REC\] the 202 as it is on the wire: `Content-Encoding: gzip` with a length of 0, and the URL of
/// the instance, without `/cancel`, on the host that was called (24 of 24).
fn accepted(received: &Received, job: JobRef, retry_after: Option<u64>) -> Answer {
    let JobRef {
        workspace_id,
        item_id,
        job_instance_id,
    } = job;
    let location = format!(
        "{}/v1/workspaces/{workspace_id}/items/{item_id}/jobs/instances/{job_instance_id}",
        received.origin
    );
    let mut answer = common_headers(Answer::new(202), received)
        .header("Location", location)
        .header("Content-Type", "application/octet-stream")
        .header("Content-Encoding", "gzip")
        .header("Content-Length", "0");
    if let Some(seconds) = retry_after {
        answer = answer.header("Retry-After", seconds.to_string());
    }
    answer
}

/// \[REC\] headers of Fabric's answers beside those of the call itself.
fn common_headers(answer: Answer, received: &Received) -> Answer {
    answer
        .header("Cache-Control", "no-store, must-revalidate, no-cache")
        .header("RequestId", received.request_id.to_string())
        .header(
            "Access-Control-Expose-Headers",
            "RequestId,Location,Retry-After",
        )
        .header(
            "home-cluster-uri",
            "https://wabi-west-europe-redirect.analysis.windows.net/",
        )
        .header("request-redirected", "true")
}

fn job(received: &Received) -> Result<JobRef, FabricError> {
    let (workspace_id, item_id) = item(received)?;
    let job_instance_id = uuid("jobInstanceId", received.call.job_instance_id.as_ref())?;
    Ok(JobRef {
        workspace_id,
        item_id,
        job_instance_id,
    })
}

fn item(received: &Received) -> Result<(Uuid, Uuid), FabricError> {
    let call = &received.call;
    Ok((
        uuid("workspaceId", call.workspace_id.as_ref())?,
        uuid("itemId", call.item_id.as_ref())?,
    ))
}

/// \[SPEC\] path ids are of format `uuid`: 36 characters, dashes, any case.
fn uuid(name: &str, raw: Option<&String>) -> Result<Uuid, FabricError> {
    raw.filter(|raw| raw.len() == 36)
        .and_then(|raw| Uuid::parse_str(raw).ok())
        .ok_or_else(|| FabricError::invalid_parameter(name))
}

/// \[SPEC\] the body of a run request is optional; when there is one it is a JSON object.
fn check_payload(received: &Received) -> Result<(), FabricError> {
    let blank = received.body.iter().all(u8::is_ascii_whitespace);
    let is_object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>;
    if blank || is_object(&received.body).is_ok() {
        Ok(())
    } else {
        Err(FabricError::corrupted_payload())
    }
}
