//! The spec's enumerated values and their spellings, one table each, for reading and printing
//! alike.

use super::{RestartPolicy, StopSignal};

impl StopSignal {
    /// Every signal with its name.
    pub const ALL: [(StopSignal, &'static str); 8] = [
        (StopSignal::Term, "SIGTERM"),
        (StopSignal::Int, "SIGINT"),
        (StopSignal::Quit, "SIGQUIT"),
        (StopSignal::Hup, "SIGHUP"),
        (StopSignal::Usr1, "SIGUSR1"),
        (StopSignal::Usr2, "SIGUSR2"),
        (StopSignal::Kill, "SIGKILL"),
        (StopSignal::Winch, "SIGWINCH"),
    ];

    /// Its name, `SIGTERM`.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::ALL, self)
    }

    /// Reads `SIGTERM` or `TERM`.
    pub fn parse(text: &str) -> Option<StopSignal> {
        let matches = |name: &str| name == text || name.strip_prefix("SIG") == Some(text);
        Self::ALL.iter().find(|(_, name)| matches(name)).map(|(value, _)| *value)
    }
}

impl RestartPolicy {
    /// Every policy with its name.
    pub const ALL: [(RestartPolicy, &'static str); 3] = [
        (RestartPolicy::Always, "always"),
        (RestartPolicy::OnFailure, "on_failure"),
        (RestartPolicy::Never, "never"),
    ];

    /// Its name, `on_failure`.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::ALL, self)
    }

    /// Reads its name.
    pub fn parse(text: &str) -> Option<RestartPolicy> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(value, _)| *value)
    }
}

fn name_of<T: PartialEq + Copy>(all: &[(T, &'static str)], value: T) -> &'static str {
    all.iter().find(|(each, _)| *each == value).map_or("", |(_, name)| name)
}
