//! A worker whose wall clock a test steps while everything runs: its agent, the holders and the
//! services (`tests/faults/clock.c`, preloaded on a machine of its own). The clock that nobody sets
//! goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tucano_tools::cluster::Folder;

use crate::{Lab, arranged};

/// What the dynamic loader and the name services want of /etc.
const OF_ETC: [&str; 4] = ["passwd", "group", "nsswitch.conf", "ld.so.cache"];

/// The clock of a lab's one worker.
pub struct SteppedClock {
    offset: PathBuf,
}

impl SteppedClock {
    /// A lab whose worker has one, with these flags; none where nobody can arrange that.
    pub fn lab(worker_flags: &[&str]) -> Option<(Lab, SteppedClock)> {
        let folder = Folder::new("test").expect("a folder");
        let (etc, library) = (folder.path().join("etc"), folder.path().join("clock.so"));
        let offset = folder.path().join("offset");
        let script = format!("mount --bind {} /etc; exec \"$@\"", etc.display());
        let mut options = arranged(&script)?;
        options.worker_flags.extend(worker_flags.iter().map(|flag| (*flag).to_owned()));
        fs::create_dir(&etc).expect("a folder");
        for name in OF_ETC {
            let _not_on_every_machine = fs::copy(Path::new("/etc").join(name), etc.join(name));
        }
        fs::write(etc.join("ld.so.preload"), library.display().to_string()).expect("a file");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/clock.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
        cc.arg(format!("-DOFFSET_FILE=\"{}\"", offset.display()));
        assert!(cc.status().expect("a C compiler").success(), "the clock does not compile");
        let clock = SteppedClock { offset };
        clock.set(0);
        Some((Lab::assemble(folder, 1, options, None), clock))
    }

    /// Steps it to be so many seconds off.
    pub fn set(&self, seconds: i64) {
        // Put in place whole: it is read while this is done.
        let part = self.offset.with_extension("part");
        fs::write(&part, seconds.to_string()).expect("a file");
        fs::rename(part, &self.offset).expect("a file");
    }
}
