//! Three days of trouble in one process: nothing that it holds grows.

use fabric_simulator::{Answer, HoldPoint, Route, Rule as Script, ScriptHandle};
use serde_json::json;
use tokio::runtime::Handle;

use virtual_cluster::{
    api_server::{CANCELLATIONS, Fault, Rule, Verb},
    clock::pass,
    operator::{Bench, hours, minutes},
};

const HOURS: u32 = 72;
const A_DAY: usize = 24;
const EACH_HOUR: u32 = 6;
const STATUS: &str = "fabricjobcancellations/status";

/// The trouble of this hour. What hangs is let go when the hour is over.
fn trouble(bench: &Bench, hour: u32) -> Option<ScriptHandle> {
    let fabric = |rule: Script| Some(bench.fabric.script(rule));
    match hour % 10 {
        0 => bench
            .server
            .inject(Rule::on(Verb::Patch, STATUS, Fault::LoseAnswer).times(5)),
        1 => bench
            .server
            .inject(Rule::on(Verb::Patch, STATUS, Fault::LoseRequest).times(20)),
        2 => bench.server.expire_watches(),
        3 => bench
            .server
            .inject(Rule::on(Verb::Get, "secrets", Fault::Answer(500)).times(5)),
        4 => return fabric(Script::on(Route::Cancel).times(5).drop_after_processing()),
        5 => {
            return fabric(
                Script::on(Route::Cancel)
                    .times(3)
                    .hold(HoldPoint::AfterProcessing),
            );
        }
        6 => {
            let throttled = Answer::throttled(Some(120));
            return fabric(Script::on_routes(Route::FABRIC).times(3).answer(throttled));
        }
        7 => {
            let down = Answer::unavailable(None);
            return fabric(Script::on_routes(Route::FABRIC).times(30).answer(down));
        }
        8 => {
            bench.fabric.revoke_tokens(&bench.fabric.seed().identity());
            bench.server.close_watches();
        }
        _ => {
            let mut panics = bench.panics.lock().expect("no holder of the lock panics");
            panics.insert(bench.job(hour * EACH_HOUR).job_instance_id, 2);
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn three_days_of_trouble_leave_no_task_and_no_watch_behind() {
    let mut bench = Bench::new();
    bench.start();
    let mut held = Vec::new();
    for hour in 0..HOURS {
        let trouble = trouble(&bench, hour);
        let numbers = hour * EACH_HOUR..(hour + 1) * EACH_HOUR;
        for number in numbers.clone() {
            bench.cancel(&format!("c{number}"), bench.job(number), json!({}));
        }
        pass(minutes(40)).await;
        if let Some(trouble) = trouble {
            trouble.remove();
            trouble.release();
        }
        for number in numbers {
            let name = format!("c{number}");
            bench.ended(&name, minutes(15)).await;
            assert_eq!(bench.ready(&name), "True JobCancelled", "hour {hour}");
            bench.server.delete(&CANCELLATIONS, &name);
        }
        bench
            .calendar
            .sleep_until(bench.calendar.start() + hours(u64::from(hour) + 1))
            .await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        held.push((tasks, bench.server.open_watches()));
    }
    println!("tasks and open watches, hour by hour: {held:?}");
    let most = |day: &[(usize, usize)]| {
        let tasks = day.iter().map(|(tasks, _)| *tasks).max();
        (tasks, day.iter().map(|(_, watches)| *watches).max())
    };
    let (first, last) = (most(&held[..A_DAY]), most(&held[2 * A_DAY..]));
    assert!(last.0 <= first.0 && last.1 <= first.1, "{held:?}");
}
