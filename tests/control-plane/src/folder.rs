//! The temporary folder of one control plane, and the removal of folders whose owner was killed.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Error;

/// A folder that only its owner can read, removed on drop.
///
/// A process that is killed cannot remove anything, so each new folder removes those whose owner
/// is gone. The owner holds a lock on a file inside, which the kernel releases in any case.
pub(crate) struct Folder {
    folder: Option<TempDir>,
    path: PathBuf,
    _lock: File,
}

impl Folder {
    pub(crate) fn create() -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        remove_orphans(&parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(Error::file("make a folder below", parent))?;
        let path = folder.path().to_path_buf();
        // Locked before it gets its name: nobody ever sees the lock file unlocked while we live.
        let unlocked = path.join("owner.new");
        let lock = File::create(&unlocked).map_err(Error::file("create", &unlocked))?;
        lock.lock().map_err(Error::file("lock", &unlocked))?;
        std::fs::rename(&unlocked, path.join(LOCK)).map_err(Error::file("rename", &unlocked))?;
        Ok(Self {
            folder: Some(folder),
            path,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into the folder and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        std::fs::write(&path, text).map_err(Error::file("write", &path))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::env::var_os(KEEP).is_some_and(|value| value == "1")
            && let Some(folder) = self.folder.take()
        {
            // Without its lock file the folder is nobody's orphan.
            let _ = std::fs::remove_file(self.path.join(LOCK));
            eprintln!("control plane: {KEEP}=1, kept {}", folder.keep().display());
        }
    }
}

/// Removes folders of control planes whose process is gone. Never fails: those of other users stay.
fn remove_orphans(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let owner_is_gone =
            File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if owner_is_gone {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Short, because the paths of etcd's sockets below it may have 107 characters at most.
const PREFIX: &str = "control-plane-";

const LOCK: &str = "owner";

/// Set to `1`, the folder with all logs is kept at the end.
const KEEP: &str = "CONTROL_PLANE_KEEP";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_whose_owner_is_gone_is_removed_and_a_living_one_stays() {
        let parent = TempDir::new().unwrap();
        let orphan = parent.path().join(format!("{PREFIX}orphan"));
        let living = parent.path().join(format!("{PREFIX}living"));
        let foreign = parent.path().join("foreign");
        for folder in [&orphan, &living, &foreign] {
            std::fs::create_dir(folder).unwrap();
            File::create(folder.join(LOCK)).unwrap();
        }
        let held = File::open(living.join(LOCK)).unwrap();
        held.lock().unwrap();

        remove_orphans(parent.path());

        assert_eq!(
            (orphan.exists(), living.exists(), foreign.exists()),
            (false, true, true)
        );
    }

    #[test]
    fn a_folder_is_private_and_gone_after_its_drop() {
        let folder = Folder::create().unwrap();
        let path = folder.path().to_path_buf();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        drop(folder);
        assert!(!path.exists());
    }
}
