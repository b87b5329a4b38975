//! Whether anything of any instance ran: then alone is there something new to read of them.
//!
//! All services' control groups stand below one, where the kernel counts their CPU together, to the
//! microsecond and whatever started or ended: one file instead of several an instance. Only version
//! 2 counts so everywhere, with no controller at all; where instances have no such groups, or not
//! all the same one above, something of them always counts as moved. `pulse` asks with every
//! heartbeat; the `sampler` thread looks up the file.

use std::path::PathBuf;

use tucano_common::limits::SAMPLES_QUIET_MAX;

use super::proc_file::ProcFile;
use super::proc_text::counter;
use crate::runner::Group;

/// What is to be read of instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stir {
    /// Something of them ran: all.
    Ran,
    /// Nothing did for long: all but what they might have started.
    Still,
    /// Nothing did: nothing.
    Quiet,
}

/// What is counted of them all.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    file: Option<ProcFile>,
    buffer: Vec<u8>,
    used_us: Option<u64>,
    /// Samples in a row without a move.
    samples: u32,
}

impl Quiet {
    /// Of these instances. Looked up anew also where they are below the same one as before: it may
    /// have gone with the last job and be a new one.
    pub(super) fn of<'a>(groups: impl Iterator<Item = &'a Group>) -> Quiet {
        let mut paths: Vec<Option<PathBuf>> = groups.map(Group::cpu_of_all).collect();
        paths.dedup();
        Quiet::of_file(if let [path] = paths.as_mut_slice() { path.take() } else { None })
    }

    pub(super) fn of_file(path: Option<PathBuf>) -> Quiet {
        Quiet { file: path.map(ProcFile::open), ..Quiet::default() }
    }

    /// What happened since the last call.
    pub(super) fn look(&mut self) -> Stir {
        let text = self.file.as_ref().and_then(|file| file.read(&mut self.buffer));
        let used_us = text.and_then(|text| counter(text, "usage_usec"));
        let has_moved = used_us.is_none() || used_us != self.used_us;
        self.used_us = used_us;
        self.samples = if has_moved { 0 } else { self.samples + 1 };
        match self.samples {
            0 => Stir::Ran,
            samples if samples % SAMPLES_QUIET_MAX == 0 => Stir::Still,
            _ => Stir::Quiet,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_quiet_while_the_count_stands_and_looked_through_now_and_then() {
        let path = std::env::temp_dir().join(format!("tucano-quiet-{}", std::process::id()));
        fs::write(&path, "usage_usec 7\nuser_usec 1\n").unwrap();
        let mut quiet = Quiet::of_file(Some(path.clone()));
        assert_eq!(quiet.look(), Stir::Ran, "nothing to compare it with");
        for _ in 1..SAMPLES_QUIET_MAX {
            assert_eq!(quiet.look(), Stir::Quiet);
        }
        assert_eq!(quiet.look(), Stir::Still);
        assert_eq!(quiet.look(), Stir::Quiet);
        fs::write(&path, "usage_usec 8\nuser_usec 1\n").unwrap();
        assert_eq!(quiet.look(), Stir::Ran);
        assert_eq!(quiet.look(), Stir::Quiet);
        fs::write(&path, "").unwrap();
        assert_eq!([quiet.look(), quiet.look()], [Stir::Ran; 2], "it may be anything");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn instances_without_a_group_in_common_are_never_quiet() {
        let mut quiet = Quiet::of([Group::default(), Group::default()].iter());
        assert_eq!([quiet.look(), quiet.look()], [Stir::Ran; 2]);
        assert_eq!(Quiet::default().look(), Stir::Ran);
    }
}
