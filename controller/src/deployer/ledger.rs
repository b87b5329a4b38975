//! How many requests the balancer took, and lost, while a deployment was on its way; the event of
//! its end says so.
//!
//! The loops count since the start of the process; here stands where each deployment began, and
//! what it came to. Not stored: of a deployment from before the start nothing is said.

use std::collections::BTreeMap;

use tucano_common::id::DeploymentId;
use tucano_common::name::ServiceName;
use tucano_common::wire::views::{RequestCounts, ServiceRequests};
use tucano_controller_core::cluster::{Event, EventKind};
use tucano_controller_core::deployer::Change;

use crate::discovery::Batch;

/// What became of a service's requests since the start of the process.
pub(crate) type CountRequests = Box<dyn Fn(&ServiceName) -> ServiceRequests + Send>;

/// The deployments since the start of the process.
pub(super) struct Ledger {
    count: CountRequests,
    meanwhile: BTreeMap<DeploymentId, Meanwhile>,
}

enum Meanwhile {
    /// It is on its way; these were the counts when it began.
    Since(ServiceName, RequestCounts),
    /// The same, and what the event of its end says, which is not stored yet.
    Ending(ServiceName, RequestCounts, RequestCounts),
    /// It has ended; this is what was between.
    Was(RequestCounts),
}

impl Ledger {
    pub(super) fn new(count: CountRequests) -> Ledger {
        Ledger { count, meanwhile: BTreeMap::new() }
    }

    /// Takes note of the deployments that began, ended and were forgotten with a commit.
    pub(super) fn committed(&mut self, batch: &Batch) {
        for event in &batch.events {
            self.take_event(event);
        }
        for change in &batch.changes {
            if let Change::DropDeployment(id) = change {
                self.meanwhile.remove(id);
            }
        }
    }

    fn take_event(&mut self, event: &Event) {
        let (Some(id), Some(service)) = (event.deployment, &event.service) else { return };
        match event.kind {
            EventKind::DeploymentStarted => {
                let began = Meanwhile::Since(service.clone(), self.sums(service));
                self.meanwhile.insert(id, began);
            }
            _ if is_end(event) => {
                let counts = match self.meanwhile.get(&id) {
                    Some(Meanwhile::Ending(_, _, told)) => Some(*told),
                    Some(Meanwhile::Since(..) | Meanwhile::Was(_)) | None => self.of(id),
                };
                if let Some(counts) = counts {
                    self.meanwhile.insert(id, Meanwhile::Was(counts));
                }
            }
            _ => {}
        }
    }

    /// Adds to the events of deployments' ends what became of the requests meanwhile, where there
    /// were any.
    pub(super) fn tell(&mut self, events: &mut [Event]) {
        for event in events.iter_mut().filter(|event| is_end(event)) {
            let Some(id) = event.deployment else { continue };
            let Some(counts) = self.of(id) else { continue };
            if let Some(Meanwhile::Since(service, began) | Meanwhile::Ending(service, began, _)) =
                self.meanwhile.remove(&id)
            {
                self.meanwhile.insert(id, Meanwhile::Ending(service, began, counts));
            }
            let RequestCounts { accepted, lost } = counts;
            let requests = if accepted == 1 { "request" } else { "requests" };
            if accepted > 0 {
                let said = format!("; {accepted} {requests} meanwhile, {lost} lost");
                event.message.push_str(&said);
            }
        }
    }

    /// What became of a service's requests since the start of the process.
    pub(super) fn service(&self, service: &ServiceName) -> ServiceRequests {
        (self.count)(service)
    }

    fn sums(&self, service: &ServiceName) -> RequestCounts {
        let ServiceRequests { accepted, lost, .. } = (self.count)(service);
        RequestCounts { accepted, lost }
    }

    /// What is known of a deployment's requests.
    pub(super) fn of(&self, id: DeploymentId) -> Option<RequestCounts> {
        match self.meanwhile.get(&id)? {
            Meanwhile::Was(counts) => Some(*counts),
            Meanwhile::Since(service, began) | Meanwhile::Ending(service, began, _) => {
                let now = self.sums(service);
                Some(RequestCounts {
                    accepted: now.accepted.saturating_sub(began.accepted),
                    lost: now.lost.saturating_sub(began.lost),
                })
            }
        }
    }
}

fn is_end(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::DeploymentSucceeded
            | EventKind::DeploymentFailed
            | EventKind::DeploymentReverted
            | EventKind::DeploymentSuperseded
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tucano_common::time::Wall;

    use super::*;

    const ID: DeploymentId = DeploymentId(7);

    fn batch(kind: EventKind) -> Batch {
        let event = Event {
            seq: 1,
            at: Wall(0),
            kind,
            service: ServiceName::new("web").ok(),
            revision: Some(1),
            deployment: Some(ID),
            instance: None,
            worker: None,
            cause: None,
            message: "revision 1 is up".to_owned(),
        };
        Batch { events: vec![event], ..Batch::default() }
    }

    #[test]
    fn a_deployment_counts_from_its_beginning_to_its_end() {
        let total = Arc::new(AtomicU64::new(100));
        let counter = Arc::clone(&total);
        let mut ledger = Ledger::new(Box::new(move |_| {
            let accepted = counter.load(Ordering::Relaxed);
            ServiceRequests { accepted, lost: accepted / 10, ..ServiceRequests::default() }
        }));
        assert_eq!(ledger.of(ID), None);
        ledger.committed(&batch(EventKind::DeploymentStarted));
        total.store(150, Ordering::Relaxed);
        assert_eq!(ledger.of(ID), Some(RequestCounts { accepted: 50, lost: 5 }));
        ledger.committed(&batch(EventKind::DeploymentSucceeded));
        total.store(900, Ordering::Relaxed);
        assert_eq!(ledger.of(ID), Some(RequestCounts { accepted: 50, lost: 5 }));
        let changes = vec![Change::DropDeployment(ID)];
        ledger.committed(&Batch { changes, ..Batch::default() });
        assert_eq!(ledger.of(ID), None);
    }

    #[test]
    fn the_event_of_its_end_says_what_the_deployment_shows() {
        let total = Arc::new(AtomicU64::new(100));
        let counter = Arc::clone(&total);
        let mut ledger = Ledger::new(Box::new(move |_| {
            let accepted = counter.load(Ordering::Relaxed);
            ServiceRequests { accepted, lost: accepted / 10, ..ServiceRequests::default() }
        }));
        let told = |ledger: &mut Ledger, kind| {
            let mut batch = batch(kind);
            ledger.tell(&mut batch.events);
            (batch.events[0].message.clone(), batch)
        };
        let (message, begun) = told(&mut ledger, EventKind::DeploymentStarted);
        assert_eq!(message, "revision 1 is up");
        // Of one that began before this process nothing is known.
        let (message, _) = told(&mut ledger, EventKind::DeploymentFailed);
        assert_eq!(message, "revision 1 is up");
        ledger.committed(&begun);
        let (message, _) = told(&mut ledger, EventKind::DeploymentSucceeded);
        assert_eq!(message, "revision 1 is up", "nobody asked meanwhile");
        total.store(101, Ordering::Relaxed);
        let (message, _) = told(&mut ledger, EventKind::DeploymentReverted);
        assert_eq!(message, "revision 1 is up; 1 request meanwhile, 0 lost");
        // That could not be stored; the deployment goes on and ends later.
        total.store(150, Ordering::Relaxed);
        assert_eq!(ledger.of(ID), Some(RequestCounts { accepted: 50, lost: 5 }));
        let (message, batch) = told(&mut ledger, EventKind::DeploymentSucceeded);
        assert_eq!(message, "revision 1 is up; 50 requests meanwhile, 5 lost");
        total.store(900, Ordering::Relaxed);
        ledger.committed(&batch);
        assert_eq!(ledger.of(ID), Some(RequestCounts { accepted: 50, lost: 5 }), "as it was told");
    }
}
