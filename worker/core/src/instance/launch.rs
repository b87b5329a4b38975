//! An instance's scripts as the shell starts them.

use std::time::Duration;

use tucano_common::spec::{EnvValue, HealthProbe, Stop, StopSignal};

use super::Instance;
use crate::effect::{Launch, Priority};
use crate::environment::{NOTIFY_SOCKET, Subject, environment};
use crate::job::JobRun;
use crate::settings::Settings;

impl Instance {
    /// The runtime script.
    pub(super) fn to_launch(&self, settings: &Settings) -> Option<Launch> {
        let script = self.spec.scripts()?.runtime.clone();
        let mut launch = self.launch(self.runtime(), script, settings);
        if self.spec.network.health_check.probe == HealthProbe::Notify {
            let socket = settings.layout.notify_socket(self.id);
            let variable = EnvValue(socket.to_string_lossy().into_owned());
            launch.environment.retain(|(name, _)| name != NOTIFY_SOCKET);
            let at = launch.environment.partition_point(|(name, _)| name.as_str() < NOTIFY_SOCKET);
            launch.environment.insert(at, (NOTIFY_SOCKET.to_owned(), variable));
            launch.notify = Some(socket);
        }
        launch.address = self.address;
        launch.stop = self.spec.stop;
        launch.entry = Some(Box::new(self.entry()));
        Some(launch)
    }

    /// The teardown script. Its port is the instance's still, but nothing listens there; it is not
    /// checked.
    pub(super) fn to_teardown(&self, settings: &Settings) -> Option<Launch> {
        let script = self.spec.scripts()?.teardown.clone()?;
        Some(self.launch(self.teardown(), script, settings))
    }

    fn launch(&self, job: JobRun, script: String, settings: &Settings) -> Launch {
        let layout = &settings.layout;
        let home = layout.instance(self.id);
        let subject = Subject {
            service: &self.service,
            revision: self.revision,
            instance: Some(self.id),
            home: &home,
            address: self.address,
            env: &self.spec.env,
        };
        Launch {
            job,
            script,
            folder: layout.build(&self.build),
            environment: environment(&subject, settings),
            data: layout.data(&self.service),
            logs: layout.instance_logs(self.id),
            home,
            notify: None,
            address: None,
            stop: Stop { signal: StopSignal::Kill, drain: Duration::ZERO, grace: Duration::ZERO },
            user: None,
            priority: Priority::Normal,
            resources: self.spec.resources,
            entry: None,
        }
    }
}
