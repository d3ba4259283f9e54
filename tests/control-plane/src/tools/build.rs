//! Builds the tools with Go from the module `tools/`, which pins them, into a cache.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};

use super::{Tools, Unavailable, is_executable};
use crate::clock::Stopwatch;
use crate::process::spawn_tethered;

/// One tool and the package that it is built from.
pub(super) struct Tool {
    pub(super) name: &'static str,
    package: &'static str,
    /// On two cores, with nothing in Go's own cache.
    first_time: &'static str,
}

/// The short ones first: a machine on which the build cannot work says so soon.
pub(super) const TOOLS: [Tool; 3] = [
    Tool {
        name: "etcd",
        package: "go.etcd.io/etcd/server/v3",
        first_time: "about a minute",
    },
    Tool {
        name: "kubectl",
        package: "k8s.io/kubernetes/cmd/kubectl",
        first_time: "about 2 minutes",
    },
    Tool {
        name: "kube-apiserver",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        first_time: "about 4 minutes",
    },
];

/// The tools in `cache`, built first if they are not all there.
pub(super) fn cached_or_built(cache: &Path) -> Result<Tools, Unavailable> {
    let module = Module::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools"))?;
    let folder = cache.join(format!("control-plane-{}", module.key));
    if let Ok(tools) = Tools::assets(folder.clone()) {
        return Ok(tools);
    }
    std::fs::create_dir_all(&folder).map_err(cache_error("create", &folder))?;
    // Beside the folder, and never removed: a lock on a removed file protects nothing. Held until the end of this function.
    let _lock = lock(&cache.join(format!("control-plane-{}.lock", module.key)))?;
    remove_unfinished(&folder);
    for (index, tool) in TOOLS.iter().enumerate() {
        // Another process may have built it while we waited.
        if !is_executable(&folder.join(tool.name)) {
            module.build(tool, index + 1, &folder)?;
        }
    }
    Ok(Tools { folder })
}

/// The Go module that pins the tools.
struct Module {
    path: PathBuf,
    go_mod: String,
    /// Changes with every pin, with the platform, and with the way we build.
    key: String,
}

impl Module {
    fn read(path: PathBuf) -> Result<Self, Unavailable> {
        let read = |name| {
            let file = path.join(name);
            std::fs::read_to_string(&file).map_err(cache_error("read", &file))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let key = key(&go_mod, &go_sum);
        Ok(Self { path, go_mod, key })
    }

    fn build(&self, tool: &Tool, number: usize, folder: &Path) -> Result<(), Unavailable> {
        let Tool {
            name,
            package,
            first_time,
        } = tool;
        let unfinished = folder.join(format!("{UNFINISHED}{name}"));
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).map_err(cache_error("create", &log))?;
        let mut go = Command::new("go");
        go.current_dir(&self.path)
            .args([
                "build",
                "-mod=readonly",
                "-trimpath",
                "-ldflags",
                &ldflags(&self.go_mod),
                "-o",
            ])
            .arg(&unfinished)
            .arg(package)
            .env("CGO_ENABLED", "0")
            // For this machine and as pinned here, whatever the developer builds otherwise.
            .env("GOFLAGS", "")
            .env("GOWORK", "off")
            .env_remove("GOOS")
            .env_remove("GOARCH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output);
        let child = spawn_tethered(go).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unavailable::NoGo {
                version: self.go_version(),
            },
            _ => cache_error("start go in", &self.path)(error),
        })?;

        eprintln!(
            "building {name} ({number} of {}), {first_time} the first time",
            TOOLS.len()
        );
        let failed = |status: String| Unavailable::Build {
            tool: name,
            status,
            version: self.go_version(),
            output: last_lines(&std::fs::read_to_string(&log).unwrap_or_default()),
        };
        let watch = Stopwatch::start();
        let status = wait(child, || {
            eprintln!(
                "building {name} ({number} of {}), {} s so far",
                TOOLS.len(),
                watch.seconds()
            )
        })
        .map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            return Err(failed(status.to_string()));
        }
        std::fs::rename(&unfinished, folder.join(name))
            .map_err(cache_error("rename", &unfinished))?;
        let _ = std::fs::remove_file(&log);
        eprintln!("built {name} in {} s", watch.seconds());
        Ok(())
    }

    fn go_version(&self) -> String {
        directive(&self.go_mod, "go")
            .unwrap_or("(see go.mod)")
            .to_owned()
    }
}

/// Calls `progress` every 15 s until the process ends.
fn wait(
    mut child: std::process::Child,
    progress: impl Fn(),
) -> std::io::Result<std::process::ExitStatus> {
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait()));
    loop {
        match end.recv_timeout(PROGRESS) {
            Ok(status) => return status,
            Err(RecvTimeoutError::Timeout) => progress(),
            Err(RecvTimeoutError::Disconnected) => unreachable!("the thread sends before it ends"),
        }
    }
}

/// Waits until no other process builds.
fn lock(path: &Path) -> Result<File, Unavailable> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(cache_error("open", path))?;
    if file.try_lock().is_err() {
        eprintln!(
            "waiting for another process that builds the control plane's tools ({})",
            path.display()
        );
        file.lock().map_err(cache_error("lock", path))?;
    }
    Ok(file)
}

/// What a killed build left behind; only the holder of the lock may call it.
fn remove_unfinished(folder: &Path) {
    for tool in &TOOLS {
        let _ = std::fs::remove_file(folder.join(format!("{UNFINISHED}{}", tool.name)));
    }
}

fn key(go_mod: &str, go_sum: &str) -> String {
    let mut context = digest::Context::new(&SHA256);
    for part in [
        RECIPE,
        std::env::consts::OS,
        std::env::consts::ARCH,
        go_mod,
        go_sum,
    ] {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    context
        .finish()
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Kubernetes' binaries get their version from the linker; without it kubectl and Helm cannot read
/// what the server says of itself.
fn ldflags(go_mod: &str) -> String {
    let version =
        directive(go_mod, "k8s.io/kubernetes").expect("tools/go.mod requires k8s.io/kubernetes");
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let package = "k8s.io/component-base/version";
    format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
    )
}

/// The word behind `name` where a line of `go.mod` starts with it, with or without `require`.
fn directive<'a>(go_mod: &'a str, name: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line
            .split_whitespace()
            .skip_while(|&word| word == "require");
        (words.next() == Some(name)).then(|| words.next()).flatten()
    })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")
}

fn cache_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> Unavailable + use<> {
    let path = path.to_path_buf();
    move |source| Unavailable::Cache {
        action,
        path,
        source,
    }
}

/// Change it when the way to build changes, so that nobody goes on with binaries of the old way.
const RECIPE: &str = "1";

/// How the name of a file starts that is still being written.
const UNFINISHED: &str = ".unfinished-";

const PROGRESS: Duration = Duration::from_secs(15);

/// Enough for Go's error; before it come hundreds of lines about downloads.
const OUTPUT_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const GO_MOD: &str = "module m\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/kubectl v0.37.2 // indirect\n\tk8s.io/kubernetes v1.37.2\n)\n\nreplace k8s.io/kubectl => k8s.io/kubectl v0.37.2\n";

    #[test]
    fn the_linked_version_is_the_one_that_go_mod_pins() {
        assert_eq!(
            ldflags(GO_MOD),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 -X k8s.io/component-base/version.gitTreeState=clean"
        );
        assert_eq!(directive(GO_MOD, "go"), Some("1.26.0"));
        assert_eq!(
            directive("require k8s.io/kubernetes v1.38.0", "k8s.io/kubernetes"),
            Some("v1.38.0")
        );
    }

    #[test]
    fn another_pin_is_another_cache() {
        assert_eq!(key(GO_MOD, "sum"), key(GO_MOD, "sum"));
        assert_ne!(key(GO_MOD, "sum"), key(GO_MOD, "sum2"));
        assert_ne!(
            key(GO_MOD, "sum"),
            key(&GO_MOD.replace("37.2", "37.3"), "sum")
        );
    }

    #[test]
    fn tools_in_the_cache_are_used_as_they_are() {
        use std::os::unix::fs::PermissionsExt;
        let cache = tempfile::tempdir().unwrap();
        let module = Module::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools")).unwrap();
        let folder = cache.path().join(format!("control-plane-{}", module.key));
        std::fs::create_dir_all(&folder).unwrap();
        for tool in &TOOLS {
            let path = folder.join(tool.name);
            std::fs::write(&path, "built before").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert_eq!(
            cached_or_built(cache.path()).unwrap(),
            Tools {
                folder: folder.clone()
            }
        );
        assert_eq!(
            std::fs::read_to_string(folder.join("etcd")).unwrap(),
            "built before"
        );
    }
}
