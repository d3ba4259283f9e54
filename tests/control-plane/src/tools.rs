//! Where etcd, kube-apiserver and kubectl come from.

mod build;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A folder with `etcd`, `kube-apiserver` and `kubectl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    folder: PathBuf,
}

/// The tools cannot be had on this machine; the message says what to install or set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// `KUBEBUILDER_ASSETS` names a folder without them.
    #[error("KUBEBUILDER_ASSETS is {}, which has no executable {missing}; set it to a folder with etcd, kube-apiserver and kubectl, or unset it to build them with Go", folder.display())]
    Assets {
        /// The folder.
        folder: PathBuf,
        /// The first tool that is not there.
        missing: &'static str,
    },

    /// There is no place for what is built.
    #[error(
        "there is no folder for caches: set XDG_CACHE_HOME or HOME to an absolute path, or KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl"
    )]
    NoCacheFolder,

    /// The cache cannot be read or written.
    #[error("{action} {}: make it writable, or set XDG_CACHE_HOME to another folder", path.display())]
    Cache {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },

    /// The tools must be built and there is no Go.
    #[error(
        "etcd, kube-apiserver and kubectl must be built, and there is no `go` in PATH: install Go {version} or newer (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with the three"
    )]
    NoGo {
        /// What `go.mod` asks for.
        version: String,
    },

    /// `go build` failed.
    #[error(
        "`go build` of {tool} failed ({status}); it needs Go {version} or newer and, the first time, a Go module proxy:\n{output}"
    )]
    Build {
        /// The tool.
        tool: &'static str,
        /// The exit status of `go`.
        status: String,
        /// What `go.mod` asks for.
        version: String,
        /// The end of what `go` printed.
        output: String,
    },
}

impl Tools {
    /// Finds them, first hit wins: `KUBEBUILDER_ASSETS`, the cache, or a build into the cache.
    ///
    /// A build takes minutes the first time and tells its progress on stderr. Processes that need
    /// it at the same time wait for the one that builds.
    ///
    /// # Errors
    /// They cannot be had; the message says what to install or set.
    pub fn locate() -> Result<Self, Unavailable> {
        match std::env::var_os(ASSETS).filter(|folder| !folder.is_empty()) {
            Some(folder) => Self::assets(folder.into()),
            None => build::cached_or_built(&cache_folder(
                std::env::var_os("XDG_CACHE_HOME"),
                std::env::var_os("HOME"),
            )?),
        }
    }

    /// The folder with the three.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// etcd's path.
    pub fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    /// kube-apiserver's path.
    pub fn kube_apiserver(&self) -> PathBuf {
        self.folder.join("kube-apiserver")
    }

    /// kubectl's path.
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join("kubectl")
    }

    fn assets(folder: PathBuf) -> Result<Self, Unavailable> {
        match build::TOOLS
            .iter()
            .find(|tool| !is_executable(&folder.join(tool.name)))
        {
            None => Ok(Self { folder }),
            Some(tool) => Err(Unavailable::Assets {
                folder,
                missing: tool.name,
            }),
        }
    }
}

/// `$XDG_CACHE_HOME`, else `$HOME/.cache`; relative paths do not count (XDG Base Directory Specification).
fn cache_folder(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, Unavailable> {
    let absolute =
        |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let parent = absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".cache")));
    parent
        .map(|parent| parent.join("fabric-job-operator"))
        .ok_or(Unavailable::NoCacheFolder)
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The variable that envtest and kubebuilder use, too.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_below_xdg_cache_home_else_below_home() {
        let some = |path: &str| Some(OsString::from(path));
        let folder = |xdg, home| cache_folder(xdg, home).ok();
        let expected = |path: &str| Some(PathBuf::from(path));
        assert_eq!(
            folder(some("/xdg"), some("/home/jane")),
            expected("/xdg/fabric-job-operator")
        );
        assert_eq!(
            folder(some("relative"), some("/home/jane")),
            expected("/home/jane/.cache/fabric-job-operator")
        );
        assert_eq!(
            folder(some(""), some("/home/jane")),
            expected("/home/jane/.cache/fabric-job-operator")
        );
        assert_eq!(folder(None, None), None);
    }

    #[test]
    fn assets_without_a_tool_are_refused_by_its_name() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for tool in ["etcd", "kubectl", "kube-apiserver"] {
            let path = folder.path().join(tool);
            std::fs::write(&path, "").unwrap();
            let mode = if tool == "kube-apiserver" {
                0o644
            } else {
                0o755
            };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let message = Tools::assets(folder.path().to_path_buf())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("has no executable kube-apiserver"),
            "{message}"
        );
    }
}
