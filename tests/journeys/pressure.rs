//! Answers without end, and a process that may hold few files or little memory, and log nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bench::{Scene, journeys};
use control_plane::{ControlPlane, Suite};
use fabric_simulator::{Answer, Route, Rule, ScriptHandle};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{PATIENCE, setup};

pub fn journeys(suite: Suite) -> Suite {
    journeys![suite;
        bodies_without_end_cost_no_memory,
        with_few_files_it_is_slower_and_loses_nothing,
        in_64_mib_and_with_a_twentieth_of_a_cpu_it_is_slower_and_loses_nothing,
        a_full_disk_for_its_log_stops_nothing,
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
    let slow = |route| {
        Rule::on(route)
            .until_removed()
            .answer(Answer::new(200).trickling())
    };
    // A megabyte of them.
    let headers = |route| {
        let mut answer = Answer::new(200);
        for number in 0..4_000 {
            answer = answer.header(format!("x-{number}"), "y".repeat(250));
        }
        Rule::on(route).until_removed().answer(answer)
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
    storm.remove();
    let storm = scene.fabric.script(headers(Route::Job));
    asked(&scene, &storm, 2 * WAITING).await;
    storm.remove();
    let storm = scene.fabric.script(slow(Route::Job));
    asked(&scene, &storm, WAITING).await;
    storm.remove();
    // Else each of these would be read for 20 s of real time.
    scene.fabric.go_offline().await;
    scene.fabric.come_back().await;
    for number in 0..WAITING {
        scene
            .wait_for_end(&format!("job{number}"), "JobCancelled")
            .await;
    }
    let after = peak(&mut scene);
    println!("{} KiB before, {} KiB after", before / 1024, after / 1024);
    assert!(
        after < before + 2 * MIB,
        "grew from {before} to {after} bytes"
    );
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
    let _starter = starts_by(&mut scene, |program| {
        format!("ulimit -n 40\nexec {program} \"$@\"")
    });
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

/// From its next start the operator is started by this script, which gets the program's path.
fn starts_by(scene: &mut Scene, script: impl FnOnce(&str) -> String) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let starter = folder.path().join("operator");
    let program = scene.options().program.display().to_string();
    let script = format!("#!/bin/sh\n{}\n", script(&program));
    fs::write(&starter, script).expect("it can be written");
    fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)).expect("it can be run");
    scene.options().program = starter;
    folder
}

/// A control group for one process, which ends with it.
struct ControlGroup {
    folder: PathBuf,
    /// The files of its limit, and what removes the limit.
    limit: PathBuf,
    free: &'static str,
}

impl ControlGroup {
    /// One with this limit, in either version of the kernel's interface; `None` where this process
    /// may not make one.
    fn new(v1: [&str; 3], v2: [&str; 2], free: &'static str) -> Option<Self> {
        let name = format!("fabric-job-operator-{}", Uuid::new_v4().simple());
        let [controller, v1_file, v1_limit] = v1;
        let root = PathBuf::from("/sys/fs/cgroup");
        let in_v1 = (root.join(controller).join(&name), v1_file, v1_limit);
        let in_v2 = (root.join(&name), v2[0], v2[1]);
        [in_v1, in_v2]
            .into_iter()
            .find_map(|(folder, file, limit)| {
                fs::create_dir(&folder).ok()?;
                let made = Self {
                    limit: folder.join(file),
                    folder,
                    free,
                };
                // Where the controller is not handed down, the file is missing; it is removed again.
                let has_it = made.limit.exists() && fs::write(&made.limit, limit).is_ok();
                has_it.then_some(made)
            })
    }

    fn memory(bytes: usize) -> Option<Self> {
        let bytes = bytes.to_string();
        let v1 = ["memory", "memory.limit_in_bytes", &bytes];
        Self::new(v1, ["memory.max", &bytes], "-1")
    }

    /// So many thousandths of one core, as Kubernetes sets them.
    fn cpu(millis: u32) -> Option<Self> {
        let quota = (millis * 100).to_string();
        let v2 = format!("{quota} 100000");
        let free = if Path::new("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists() {
            "-1"
        } else {
            "max 100000"
        };
        Self::new(["cpu", "cpu.cfs_quota_us", &quota], ["cpu.max", &v2], free)
    }

    fn lift(&self) {
        fs::write(&self.limit, self.free).expect("a limit can be lifted");
    }

    /// The line of a script that puts its own process into the group.
    fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs\n", self.folder.display())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // It is refused while a process is in it: then the run's end empties it, and it stays.
        let _ = fs::remove_dir(&self.folder);
    }
}

async fn in_64_mib_and_with_a_twentieth_of_a_cpu_it_is_slower_and_loses_nothing(
    plane: &ControlPlane,
) {
    const FEW: usize = 3;
    const MANY: usize = 50;
    let mut setup = setup();
    setup.arguments = vec!["--requests-per-minute=2000".to_owned()];
    // Before the scene, so that its operator is gone when they are removed.
    let memory = ControlGroup::memory(64 * MIB);
    let cpu = ControlGroup::cpu(50);
    let mut scene = Scene::prepare(plane, setup).await;
    for (limit, group) in [("memory", &memory), ("CPU", &cpu)] {
        if group.is_none() {
            println!("NOT LIMITED: this process may make no control group for {limit}");
        }
    }
    let groups = [&memory, &cpu].map(|group| group.as_ref().map(ControlGroup::enter));
    let enter: String = groups.into_iter().flatten().collect();
    let _starter = starts_by(&mut scene, |program| {
        format!("{enter}exec {program} \"$@\"")
    });
    scene.start_operator().await;
    let cancel = async |numbers: std::ops::Range<usize>| {
        for number in numbers.clone() {
            let job = scene.another_job();
            scene
                .cancel_job(&format!("job{number}"), &job, json!({}))
                .await;
        }
        for number in numbers {
            scene
                .wait_for_end(&format!("job{number}"), "JobCancelled")
                .await;
        }
    };
    cancel(0..FEW).await;
    if let Some(cpu) = &cpu {
        cpu.lift();
    }
    cancel(FEW..FEW + MANY).await;
    assert_eq!(
        scene.fabric.requests(Route::Cancel).len(),
        FEW + MANY,
        "one request each"
    );
    let peak = peak(&mut scene);
    println!("{} KiB at most", peak / 1024);
    assert!(peak < 64 * MIB, "{peak} bytes");
    let ended = scene.operator().terminate().await;
    assert!(ended.success(), "the same process lived to the end");
}

async fn a_full_disk_for_its_log_stops_nothing(plane: &ControlPlane) {
    let mut scene = Scene::prepare(plane, setup()).await;
    let _starter = starts_by(&mut scene, |program| {
        format!("exec {program} \"$@\" >/dev/full 2>/dev/full")
    });
    scene.launch_operator();
    scene.cancel("job", json!({})).await;
    scene.wait_for_end("job", "JobCancelled").await;
    assert_eq!(scene.processed(), 1);
    let ended = scene.operator().terminate().await;
    assert!(ended.success(), "{ended}");
    assert_eq!(scene.log(), "", "nothing could be logged");
}
