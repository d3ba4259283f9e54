//! The bench's own tests, on one real control plane.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use control_plane::{ControlPlane, Stage, Suite};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};

fn main() -> ExitCode {
    if std::env::var_os(VICTIM).is_some() {
        return be_the_victim();
    }
    Suite::new()
        .one_at_a_time()
        .before_all(make_what_the_suite_needs)
        .test(
            "what_is_made_before_all_tests_is_there",
            what_is_made_before_all_tests_is_there,
        )
        .test(
            "a_service_account_without_a_binding_is_refused_by_rbac",
            a_service_account_without_a_binding_is_refused_by_rbac,
        )
        .test(
            "a_group_of_a_client_certificate_can_be_bound",
            a_group_of_a_client_certificate_can_be_bound,
        )
        .test(
            "the_audit_log_counts_requests_per_user",
            the_audit_log_counts_requests_per_user,
        )
        .test(
            "a_request_that_still_runs_is_waited_for_by_the_audit_log",
            a_request_that_still_runs_is_waited_for_by_the_audit_log,
        )
        .test(
            "the_server_says_the_version_that_is_pinned",
            the_server_says_the_version_that_is_pinned,
        )
        .test(
            "a_failing_kubectl_shows_what_it_printed",
            a_failing_kubectl_shows_what_it_printed,
        )
        .test(
            "an_installed_crd_is_served_and_explained_at_once",
            an_installed_crd_is_served_and_explained_at_once,
        )
        .test(
            "a_killed_apiserver_comes_back_on_its_port_with_its_data",
            a_killed_apiserver_comes_back_on_its_port_with_its_data,
        )
        .test(
            "a_paused_apiserver_answers_nothing_until_it_is_resumed",
            a_paused_apiserver_answers_nothing_until_it_is_resumed,
        )
        .test(
            "another_apiserver_shows_what_it_remembers_while_its_way_to_etcd_is_frozen",
            another_apiserver_shows_what_it_remembers_while_its_way_to_etcd_is_frozen,
        )
        .test(
            "a_killed_etcd_comes_back_with_its_data",
            a_killed_etcd_comes_back_with_its_data,
        )
        .test(
            "a_paused_etcd_stops_writes_until_it_is_resumed",
            a_paused_etcd_stops_writes_until_it_is_resumed,
        )
        .test(
            "a_full_etcd_refuses_writes_and_answers_reads",
            a_full_etcd_refuses_writes_and_answers_reads,
        )
        .test(
            "a_server_that_is_not_running_cannot_be_paused",
            a_server_that_is_not_running_cannot_be_paused,
        )
        .test(
            "two_control_planes_know_nothing_of_each_other",
            two_control_planes_know_nothing_of_each_other,
        )
        .test(
            "a_dropped_control_plane_leaves_no_process_and_no_file",
            a_dropped_control_plane_leaves_no_process_and_no_file,
        )
        .test(
            "a_killed_test_process_takes_its_servers_with_it",
            a_killed_test_process_takes_its_servers_with_it,
        )
        .run()
}

async fn make_what_the_suite_needs(plane: &ControlPlane) {
    namespace(plane, "made-before").await;
}

async fn what_is_made_before_all_tests_is_there(plane: &ControlPlane) {
    Api::<Namespace>::all(plane.client())
        .get("made-before")
        .await
        .unwrap();
}

async fn a_service_account_without_a_binding_is_refused_by_rbac(plane: &ControlPlane) {
    let namespace = namespace(plane, "powerless").await;
    let kubeconfig = plane
        .kubeconfig_service_account(&namespace, "robot")
        .await
        .unwrap();
    let mut command = plane.kubectl_as(&kubeconfig);
    command.args(["get", "secrets", "--namespace", &namespace]);
    let output = plane.run(command, None).await.unwrap();
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains(
            r#"User "system:serviceaccount:powerless:robot" cannot list resource "secrets""#
        ),
        "{}",
        output.stderr
    );
    // A second kubeconfig of the same account finds it there already.
    plane
        .kubeconfig_service_account(&namespace, "robot")
        .await
        .unwrap();
}

async fn a_group_of_a_client_certificate_can_be_bound(plane: &ControlPlane) {
    let namespace = namespace(plane, "bound").await;
    plane
        .apply(
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: team-b, namespace: bound}, \
             roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, \
             subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'team:b'}]}",
        )
        .await
        .unwrap();
    for (user, groups, may_list) in [
        ("jane", &["team:a", "team:b"][..], true),
        ("joe", &["team:a"], false),
        ("jim", &[], false),
    ] {
        let client = plane
            .client_of(&plane.kubeconfig_user(user, groups).unwrap())
            .await
            .unwrap();
        let listed = Api::<ConfigMap>::namespaced(client, &namespace)
            .list(&Default::default())
            .await;
        assert_eq!(listed.is_ok(), may_list, "{user}");
    }
    let error = plane.kubeconfig_user("jane", &["a", "b", "c"]).unwrap_err();
    assert!(error.to_string().contains("has 3 groups"), "{error}");
}

async fn the_audit_log_counts_requests_per_user(plane: &ControlPlane) {
    let namespace = namespace(plane, "counted").await;
    let client = plane
        .client_of(
            &plane
                .kubeconfig_user("counted", &["system:masters"])
                .unwrap(),
        )
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for number in 0..20 {
        maps.create(
            &PostParams::default(),
            &config_map(&format!("map-{number}")),
        )
        .await
        .unwrap();
    }
    maps.get("absent").await.unwrap_err();
    let audit = plane.audit().await.unwrap();

    let mine = audit.by_user("counted");
    assert_eq!(
        mine.count(|entry| entry.verb == "create" && entry.code == Some(201)),
        20,
        "{mine}"
    );
    assert_eq!(mine.len(), 21, "{mine}");
    let last = mine.last().unwrap();
    assert_eq!(
        (
            last.verb.as_str(),
            last.group.as_str(),
            last.resource.as_str(),
            last.subresource.as_str(),
            last.namespace.as_str(),
            last.name.as_str(),
            last.code,
            last.stage
        ),
        (
            "get",
            "",
            "configmaps",
            "",
            "counted",
            "absent",
            Some(404),
            Stage::ResponseComplete
        )
    );
    assert!(last.completed.unwrap() >= last.received);
    // The bench's own markers and probes are not in it.
    assert_eq!(
        plane
            .audit()
            .await
            .unwrap()
            .count(|entry| entry.request_uri.contains("audit-marker")),
        0
    );
}

async fn a_request_that_still_runs_is_waited_for_by_the_audit_log(plane: &ControlPlane) {
    let namespace = namespace(plane, "slow").await;
    let kubeconfig = plane.kubeconfig_user("slow", &["system:masters"]).unwrap();
    let maps: Api<ConfigMap> =
        Api::namespaced(plane.client_of(&kubeconfig).await.unwrap(), &namespace);
    maps.list(&Default::default()).await.unwrap();

    // With etcd paused the write hangs inside the API server, which has received it.
    plane.pause_etcd().unwrap();
    let write = tokio::spawn(async move {
        maps.create(&PostParams::default(), &config_map("slow"))
            .await
    });
    let audit_log = plane.folder().join("audit-1.log");
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    while !std::fs::read_to_string(&audit_log)
        .unwrap()
        .lines()
        .any(|line| line.contains(r#""username":"slow""#) && line.contains(r#""verb":"create""#))
    {
        ticks.tick().await;
    }
    let audit = plane.audit();
    tokio::pin!(audit);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut audit).await;
    assert!(
        early.is_err(),
        "it did not wait: {}",
        early.unwrap().unwrap()
    );
    plane.resume_etcd().await.unwrap();
    write.await.unwrap().unwrap();
    let mine = audit.await.unwrap().by_user("slow");
    assert_eq!(
        mine.count(|entry| entry.verb == "create" && entry.code == Some(201)),
        1,
        "{mine}"
    );
}

async fn the_server_says_the_version_that_is_pinned(plane: &ControlPlane) {
    let pinned = include_str!("../tools/go.mod")
        .split_whitespace()
        .skip_while(|&word| word != "k8s.io/kubernetes")
        .nth(1)
        .unwrap();
    let version = plane.client().apiserver_version().await.unwrap();
    assert_eq!(
        (version.git_version.as_str(), version.major.as_str()),
        (pinned, "1")
    );
}

async fn a_failing_kubectl_shows_what_it_printed(plane: &ControlPlane) {
    let output = plane
        .run_kubectl(&["get", "namespace", "nowhere"])
        .await
        .unwrap();
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""));
    assert_eq!(
        output.stderr,
        "Error from server (NotFound): namespaces \"nowhere\" not found\n"
    );

    let error = plane
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: UPPER}}")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("Invalid value: \"UPPER\""),
        "{error}"
    );
}

async fn an_installed_crd_is_served_and_explained_at_once(plane: &ControlPlane) {
    plane
        .install_crd(&crd("size: {type: integer, description: How large it is.}"))
        .await
        .unwrap();
    plane.apply("{apiVersion: example.com/v1, kind: Widget, metadata: {name: one, namespace: default}, spec: {size: 3}}").await.unwrap();
    let explained = plane
        .run_kubectl(&["explain", "widget.spec.size"])
        .await
        .unwrap();
    assert!(
        explained.stdout.contains("How large it is."),
        "{explained:?}"
    );

    // An update is waited for, too.
    plane
        .install_crd(&crd(
            "size: {type: integer}, colour: {type: string, description: Its paint.}",
        ))
        .await
        .unwrap();
    let explained = plane
        .run_kubectl(&["explain", "widget.spec.colour"])
        .await
        .unwrap();
    assert!(explained.stdout.contains("Its paint."), "{explained:?}");
}

async fn a_killed_apiserver_comes_back_on_its_port_with_its_data(plane: &ControlPlane) {
    let namespace = namespace(plane, "kept").await;
    let kubeconfig = plane
        .kubeconfig_service_account(&namespace, "robot")
        .await
        .unwrap();
    let before = plane.url();
    let namespaces: Api<Namespace> = Api::all(plane.client());
    let uid = namespaces.get(&namespace).await.unwrap().metadata.uid;

    plane.kill_apiserver().unwrap();
    assert_eq!(plane.pids().len(), 1);
    let port = before.rsplit(':').next().unwrap();
    let refused = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // Ours it stays: nobody else can take the port meanwhile.
    let taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    // What was logged can still be read.
    assert!(!plane.audit().await.unwrap().is_empty());

    plane.restart_apiserver().await.unwrap();
    assert_eq!(plane.url(), before);
    assert_eq!(namespaces.get(&namespace).await.unwrap().metadata.uid, uid);
    // Tokens and certificates from before are good, and the audit log goes on.
    let audit_before = plane.audit().await.unwrap();
    let robot = plane.client_of(&kubeconfig).await.unwrap();
    Api::<ConfigMap>::namespaced(robot, &namespace)
        .get("x")
        .await
        .unwrap_err();
    let robots = plane
        .audit()
        .await
        .unwrap()
        .by_user("system:serviceaccount:kept:robot");
    assert_eq!((robots.len(), robots[0].code), (1, Some(403)), "{robots}");
    assert!(
        audit_before.count(|entry| entry.namespace == namespace) >= 2,
        "entries of the first start are kept"
    );
}

async fn a_paused_apiserver_answers_nothing_until_it_is_resumed(plane: &ControlPlane) {
    let namespaces: Api<Namespace> = Api::all(plane.client());
    namespaces.get("default").await.unwrap();
    plane.pause_apiserver().unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(500), namespaces.get("default")).await;
    assert!(answer.is_err(), "a paused server answered: {answer:?}");
    plane
        .audit()
        .await
        .expect("the log of a paused server can be read");
    plane.resume_apiserver().await.unwrap();
    namespaces.get("default").await.unwrap();
}

async fn a_full_etcd_refuses_writes_and_answers_reads(plane: &ControlPlane) {
    let namespace = namespace(plane, "etcd-full").await;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), &namespace);
    plane.fill_etcd().await.unwrap();
    let refused = maps.create(&PostParams::default(), &config_map("a")).await;
    let read = maps.list(&ListParams::default()).await;
    plane.empty_etcd().await.unwrap();
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("space"), "{text}");
    assert!(read.is_ok());
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
}

async fn another_apiserver_shows_what_it_remembers_while_its_way_to_etcd_is_frozen(
    plane: &ControlPlane,
) {
    let namespace = namespace(plane, "two-servers").await;
    let here: Api<ConfigMap> = Api::namespaced(plane.client(), &namespace);
    here.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let another = plane.another_apiserver().await.unwrap();
    let there: Api<ConfigMap> = Api::namespaced(another.client(), &namespace);
    let remembered = ListParams::default().match_any();
    let count = async || there.list(&remembered).await.unwrap().items.len();
    assert_eq!(count().await, 1);

    another.freeze();
    here.create(&PostParams::default(), &config_map("b"))
        .await
        .unwrap();
    let (params, third) = (PostParams::default(), config_map("c"));
    let write = there.create(&params, &third);
    let hung = tokio::time::timeout(Duration::from_millis(300), write).await;
    assert!(hung.is_err());
    assert_eq!(count().await, 1);

    another.thaw();
    // A list of the newest waits until the server has caught up.
    let newest = there.list(&ListParams::default()).await.unwrap();
    assert!(newest.items.len() > 1);
    another.kill().unwrap();
    there.get("a").await.unwrap_err();
    another.restart().await.unwrap();
    there.get("a").await.unwrap();
}

async fn a_killed_etcd_comes_back_with_its_data(plane: &ControlPlane) {
    let namespace = namespace(plane, "etcd-kept").await;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), &namespace);
    let made = maps
        .create(&PostParams::default(), &config_map("kept"))
        .await
        .unwrap();
    plane.kill_etcd().unwrap();
    plane.restart_etcd().await.unwrap();
    assert_eq!(
        maps.get("kept").await.unwrap().metadata.uid,
        made.metadata.uid
    );
    let patch = serde_json::json!({"data": {"after": "restart"}});
    maps.patch("kept", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

async fn a_paused_etcd_stops_writes_until_it_is_resumed(plane: &ControlPlane) {
    let namespace = namespace(plane, "etcd-paused").await;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), &namespace);
    plane.pause_etcd().unwrap();
    let late = config_map("late");
    let parameters = PostParams::default();
    let write = maps.create(&parameters, &late);
    tokio::pin!(write);
    assert!(
        tokio::time::timeout(Duration::from_millis(500), &mut write)
            .await
            .is_err()
    );
    plane.resume_etcd().await.unwrap();
    write.await.unwrap();
}

async fn a_server_that_is_not_running_cannot_be_paused(plane: &ControlPlane) {
    plane.kill_apiserver().unwrap();
    let error = plane.pause_apiserver().unwrap_err();
    assert_eq!(
        error.to_string(),
        "pause kube-apiserver: it is not running; restart it first"
    );
    // Killing twice is no error: a test may clean up without knowing.
    plane.kill_apiserver().unwrap();
    plane.restart_apiserver().await.unwrap();
}

async fn two_control_planes_know_nothing_of_each_other(plane: &ControlPlane) {
    let namespace = namespace(plane, "here").await;
    let other = ControlPlane::start_with(plane.tools().clone())
        .await
        .unwrap();
    assert_ne!(other.url(), plane.url());
    let there = Api::<Namespace>::all(other.client())
        .get_opt(&namespace)
        .await
        .unwrap();
    assert_eq!(there.map(|namespace| namespace.metadata.name), None);
    // One's certificates are nothing to the other.
    let stranger = std::fs::read_to_string(plane.kubeconfig_admin())
        .unwrap()
        .replace(&plane.url(), &other.url());
    let kubeconfig = other.folder().join("stranger");
    std::fs::write(&kubeconfig, stranger).unwrap();
    let refused = other
        .client_of(&kubeconfig)
        .await
        .unwrap()
        .apiserver_version()
        .await
        .unwrap_err();
    assert!(
        !matches!(refused, kube::Error::Api(_)),
        "TLS must fail: {refused}"
    );
}

async fn a_dropped_control_plane_leaves_no_process_and_no_file(plane: &ControlPlane) {
    let other = ControlPlane::start_with(plane.tools().clone())
        .await
        .unwrap();
    let (pids, folder) = (other.pids(), other.folder().to_path_buf());
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|&pid| exists(pid)));
    // A watch that is open must not hold it up.
    let mut watch = other
        .kubectl()
        .args(["get", "namespaces", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(watch.stdout.as_mut().unwrap())
        .read_line(&mut String::new())
        .unwrap();
    drop(other);
    let left: Vec<u32> = pids.into_iter().filter(|&pid| exists(pid)).collect();
    assert!(left.is_empty(), "still there: {left:?}");
    assert!(!folder.exists());
    let _ = watch.kill();
    watch.wait().unwrap();
}

async fn a_killed_test_process_takes_its_servers_with_it(plane: &ControlPlane) {
    // This binary again, which starts a control plane on a thread that ends, and is then killed.
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let pids: Vec<u32> = lines
        .next()
        .unwrap()
        .unwrap()
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    let folder = lines.next().unwrap().unwrap();
    assert_eq!(pids.len(), 2);
    assert!(
        pids.iter().all(|&pid| exists(pid)),
        "the servers outlive the thread that started them"
    );
    victim.kill().unwrap();
    victim.wait().unwrap();

    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let gone = async {
        while pids.iter().any(|&pid| exists(pid)) {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .expect("the kernel kills the servers");
    // Nobody could remove the folder; the next control plane on this machine does.
    assert!(Path::new(&folder).exists());
    drop(
        ControlPlane::start_with(plane.tools().clone())
            .await
            .unwrap(),
    );
    assert!(!Path::new(&folder).exists());
}

/// Starts a control plane, says what it made, and waits to be killed.
fn be_the_victim() -> ExitCode {
    let started = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(ControlPlane::start())
            .unwrap()
    });
    let plane = started.join().unwrap();
    let pids: Vec<String> = plane.pids().iter().map(u32::to_string).collect();
    println!("{}\n{}", pids.join(" "), plane.folder().display());
    // Until our end of the pipe is closed, should the test itself be killed.
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

/// Is there a process with this id which is more than an entry that nobody has waited for?
fn exists(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
    !matches!(state, Some('Z' | 'X') | None)
}

async fn namespace(plane: &ControlPlane, name: &str) -> String {
    plane
        .apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"
        ))
        .await
        .unwrap();
    name.to_owned()
}

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn crd(properties: &str) -> String {
    format!(
        "{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: widgets.example.com}}, \
         spec: {{group: example.com, scope: Namespaced, names: {{plural: widgets, singular: widget, kind: Widget}}, \
         versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, \
         properties: {{spec: {{type: object, properties: {{{properties}}}}}}}}}}}}}]}}}}"
    )
}

const VICTIM: &str = "CONTROL_PLANE_TEST_VICTIM";
