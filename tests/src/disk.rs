//! Disks that fail under a controller: a library that is preloaded into it refuses what its
//! database writes or syncs (`tests/faults/disk.c`), and a file system that is really small.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tucano_tools::cluster::{Folder, Options};

use crate::Lab;

/// Faults of the disk below a lab's database, on and off while the controller runs.
pub struct Faults {
    folder: PathBuf,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written: no space is left.
    Full,
    /// Nothing is written: the file system turned read-only.
    ReadOnly,
    /// Every fsync fails.
    Fsync,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Full => "full",
            Fault::ReadOnly => "readonly",
            Fault::Fsync => "fsync",
        }
    }
}

impl Faults {
    /// A lab whose controller meets them.
    pub fn lab(workers: u32) -> (Lab, Faults) {
        let lab_folder = Folder::new("test").expect("a folder");
        let folder = lab_folder.path().join("faults");
        fs::create_dir(&folder).expect("a folder");
        let library = folder.join("disk.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/disk.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(cc.status().expect("a C compiler").success(), "the faults do not compile");
        let text = |path: &Path| path.display().to_string();
        let options = Options {
            controller_env: vec![
                ("LD_PRELOAD".to_owned(), text(&library)),
                ("DISK_FAULTS".to_owned(), text(&folder)),
            ],
            ..Options::default()
        };
        let lab = Lab::assemble(lab_folder, workers, options, None);
        (lab, Faults { folder })
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        fs::write(self.folder.join(fault.name()), b"").expect("a file");
    }

    /// No more.
    pub fn clear(&self, fault: Fault) {
        fs::remove_file(self.folder.join(fault.name())).expect("it was set");
    }

    /// The controller dies at the commit with this number, counted from now on: before it is synced
    /// or right after, before anybody hears of it. Holds for one controller.
    pub fn die_at(&self, commit: u32, after: bool) {
        let when = if after { "after" } else { "before" };
        // Put in place whole: it is read while this is done.
        let undone = self.folder.join("die.part");
        fs::write(&undone, format!("{commit} {when}\n")).expect("a file");
        fs::rename(undone, self.folder.join("die")).expect("a file");
    }

    /// It lives.
    pub fn live(&self) {
        fs::remove_file(self.folder.join("die")).expect("it was to die");
    }
}

/// A file system of its own for a lab's data folder, so large and no larger. It has to be made
/// before the lab and dropped after it.
pub struct SmallDisk {
    folder: PathBuf,
    mount: PathBuf,
}

impl SmallDisk {
    /// Mounts one where the lab of this folder has the data of its `controller`, or of its worker
    /// `w1`; none where this user may not.
    pub fn mount(lab_folder: &Folder, of: &str, bytes: u64) -> Option<SmallDisk> {
        let mount = lab_folder.path().join(of);
        fs::create_dir(&mount).expect("a folder");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tucano-test"]);
        let mounted = command.arg(&mount).output().is_ok_and(|output| output.status.success());
        if !mounted {
            fs::remove_dir(&mount).expect("it is empty");
            return None;
        }
        Some(SmallDisk { folder: lab_folder.path().to_owned(), mount })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
