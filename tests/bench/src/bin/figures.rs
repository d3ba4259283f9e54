//! Prints figures of the operator as they are on this machine: size, memory, apply-to-request.
//!
//! Nothing is judged here: absolute times and sizes are no tests.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bench::{Scene, Setup};
use control_plane::ControlPlane;
use fabric_simulator::{LookRetryAfter, Route};
use jiff::Timestamp;
use serde_json::json;

/// How many cancellations wait when the memory is read again.
const WAITING: usize = 1_000;

/// How many cancellations are timed, one after the other.
const TIMED: usize = 200;

/// The longest that all of one kind may take.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    let Some(program) = std::env::args().nth(1).map(PathBuf::from) else {
        eprintln!("usage: figures PROGRAM (the operator, best built with --release)");
        return ExitCode::from(2);
    };
    let plane = match ControlPlane::start().await {
        Ok(plane) => plane,
        Err(error) => {
            eprintln!("failed to start the control plane: {error}");
            return ExitCode::FAILURE;
        }
    };
    plane
        .install_crd(include_str!("../../../../crds/fabricjobcancellations.yaml"))
        .await
        .expect("the CRD can be installed");
    let size = std::fs::metadata(&program)
        .expect("the program exists")
        .len();
    println!("binary                     {}", mebibytes(size));

    let setup = Setup::new(&program).fabric(|settings| {
        settings.quota = None;
        settings.accepted_retry_after = Some(Duration::from_secs(3_600));
        settings.look_retry_after = LookRetryAfter::Seconds(3_600);
    });
    let mut scene = Scene::start(&plane, setup).await;
    println!("RSS, nothing to do         {}", rss(&mut scene));

    time_requests(&plane, &scene).await;
    for n in 0..WAITING {
        let job = scene.another_job();
        scene
            .cancel_job(&format!("waiting-{n}"), &job, json!({}))
            .await;
    }
    scene
        .fabric
        .wait_until(PATIENCE, |ledger| {
            let requests = ledger.iter().filter(|entry| entry.route == Route::Cancel);
            (requests.count() == TIMED + WAITING).then_some(())
        })
        .await
        .expect("every cancellation is requested");
    println!(
        "RSS, {} waiting         {}",
        TIMED + WAITING,
        rss(&mut scene)
    );
    ExitCode::SUCCESS
}

/// From the API server's receipt of the resource to Fabric's receipt of the request.
async fn time_requests(plane: &ControlPlane, scene: &Scene) {
    for n in 0..TIMED {
        let job = scene.another_job();
        let id = job.job_instance_id.to_string();
        scene
            .cancel_job(&format!("timed-{n}"), &job, json!({}))
            .await;
        scene
            .fabric
            .wait_for(PATIENCE, |entry| {
                entry.route == Route::Cancel && entry.job_instance_id.as_ref() == Some(&id)
            })
            .await
            .expect("the cancellation is requested");
    }
    let audit = plane.audit().await.expect("the audit log can be read");
    let mut applied: Vec<Timestamp> = audit
        .only(|entry| entry.verb == "create" && entry.resource == "fabricjobcancellations")
        .iter()
        .map(|entry| entry.received)
        .collect();
    applied.sort();
    let requests = scene.fabric.requests(Route::Cancel);
    let mut took: Vec<Duration> = applied
        .iter()
        .zip(&requests)
        .map(|(applied, request)| request.time.duration_since(*applied).unsigned_abs())
        .collect();
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "apply to request           p50 {:.1} ms, p99 {:.1} ms ({} one after the other)",
        at(50),
        at(99),
        took.len()
    );
}

fn rss(scene: &mut Scene) -> String {
    let path = format!("/proc/{}/status", scene.operator().pid());
    let status = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    let kibibytes = status.lines().find_map(|line| {
        let value = line.strip_prefix("VmRSS:")?;
        value.trim().trim_end_matches(" kB").parse::<u64>().ok()
    });
    kibibytes.map_or("unknown on this system".into(), |kib| {
        mebibytes(kib * 1_024)
    })
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
