//! Answers without end, and a process that may hold few files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bench::{Scene, journeys};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Answer, Route, Rule, ScriptHandle};
use serde_json::json;

use crate::{PATIENCE, setup};

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        bodies_without_end_cost_no_memory,
        with_few_files_it_is_slower_and_loses_nothing,
    ]
}

const MIB: usize = 1024 * 1024;

async fn bodies_without_end_cost_no_memory(plane: &ControlPlane) {
    const WAITING: usize = 4;
    let mut scene = Scene::start(plane, setup().faster(30)).await;
    let endless = |route| {
        Rule::on(route)
            .until_removed()
            .answer(Answer::new(200).endless())
    };
    let huge = |route| {
        let page = Answer::new(502).huge(256 * MIB as u64);
        Rule::on(route).until_removed().answer(page)
    };
    let small = Rule::on(Route::Job).until_removed();
    let warm_up = scene.fabric.script(small.answer(Answer::unavailable(None)));
    for number in 0..WAITING {
        let job = scene.another_job();
        scene
            .cancel_job(&format!("job{number}"), &job, json!({}))
            .await;
    }
    asked(&scene, &warm_up, 4 * WAITING).await;
    let before = peak(&mut scene);
    warm_up.remove();
    let storm = scene.fabric.script(endless(Route::Job));
    asked(&scene, &storm, 4 * WAITING).await;
    storm.remove();
    let storm = scene.fabric.script(huge(Route::Job));
    asked(&scene, &storm, 2 * WAITING).await;
    let after = peak(&mut scene);
    storm.remove();
    println!("{} KiB before, {} KiB after", before / 1024, after / 1024);
    assert!(
        after < before + 2 * MIB,
        "grew from {before} to {after} bytes"
    );
    for number in 0..WAITING {
        scene
            .wait_for_end(&format!("job{number}"), "JobCancelled")
            .await;
    }
    scene.assert_nothing_leaked().await;
}

/// Waits until so many looks were met by the script.
async fn asked(scene: &Scene, script: &ScriptHandle, times: usize) {
    script
        .wait_for_arrivals(times.try_into().expect("a few"), PATIENCE)
        .await
        .unwrap_or_else(|_| panic!("{times} looks; the operator logged\n{}", scene.log()));
}

/// The most memory that the operator ever held, in bytes.
fn peak(scene: &mut Scene) -> usize {
    let pid = scene.operator().pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let kib = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
        kib.parse::<usize>().ok()
    });
    kib.expect("the kernel says so") * 1024
}

async fn with_few_files_it_is_slower_and_loses_nothing(plane: &ControlPlane) {
    const MANY: usize = 60;
    let slow = |fabric: &mut fabric_simulator::Settings| {
        fabric.cancel_takes = Duration::from_secs(5);
    };
    let mut scene = Scene::prepare(plane, setup().faster(20).fabric(slow)).await;
    // Files, sockets and all: the watch, the servers and the runtime alone hold about 25.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let starter = folder.path().join("operator");
    let program = scene.options().program.clone();
    let script = format!(
        "#!/bin/sh\nulimit -n 40\nexec {} \"$@\"\n",
        program.display()
    );
    fs::write(&starter, script).expect("it can be written");
    fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)).expect("it can be run");
    scene.options().program = starter;
    scene.start_operator().await;
    let slow = Rule::on(Route::Cancel)
        .until_removed()
        .delay(Duration::from_secs(4));
    let slow = scene.fabric.script(slow);
    let mut jobs = Vec::new();
    for number in 0..MANY {
        let job = scene.another_job();
        scene
            .cancel_job(&format!("job{number}"), &job, json!({}))
            .await;
        jobs.push(job);
    }
    slow.wait_for_arrivals(10, PATIENCE).await.expect("some");
    slow.remove();
    for (number, job) in jobs.iter().enumerate() {
        scene
            .wait_for_end(&format!("job{number}"), "JobCancelled")
            .await;
        let processed = scene.fabric.processed_cancels(job.job_instance_id);
        assert_eq!(processed, 1, "job{number}");
    }
    let starved = scene.log().contains("Too many open files");
    println!("starved: {starved}");
    assert!(starved, "the limit was never felt, so nothing was tested");
    scene.assert_nothing_leaked().await;
}
