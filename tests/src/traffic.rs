//! Steady requests of real clients through the balancer while something else goes on, every answer
//! checked: none may be lost.

use std::thread::JoinHandle;
use std::time::Duration;

use tucano_common::wire::views::ServiceView;
use tucano_tools::load::{Plan, Report, Stop, run};

use crate::{Lab, MINUTE, SOON};

/// Clients that ask for `/` of one service, over kept connections.
pub struct Traffic {
    service: String,
    stop: Stop,
    clients: JoinHandle<Report>,
}

impl Traffic {
    /// So many requests a second; every answer has to contain this.
    pub fn start(lab: &Lab, service: &str, rate: u32, contains: &str) -> Traffic {
        let mut plan = Plan::new(lab.balancer(), service);
        (plan.rate, plan.duration) = (Some(rate), MINUTE * 10);
        (plan.status, plan.contains) = (Some(200), Some(contains.to_owned()));
        let stop = Stop::default();
        let own = stop.clone();
        let clients = std::thread::spawn(move || run(&plan, &own).expect("clients that run"));
        Traffic { service: service.to_owned(), stop, clients }
    }

    /// So many more requests were taken and answered, by the balancer's own count.
    pub fn wait_for(&self, lab: &Lab, more: u64) {
        let ended = || {
            let service: ServiceView =
                lab.api.get(&format!("/v1/services/{}", self.service)).ok()?;
            Some(service.requests.ended.values().sum::<u64>())
        };
        let begun = lab.until("the requests so far", MINUTE, ended);
        lab.until("requests that are answered", MINUTE, || {
            ended().filter(|ended| *ended >= begun + more)
        });
    }

    /// What the clients saw.
    pub fn end(self) -> Report {
        self.stop.stop();
        self.clients.join().expect("clients")
    }

    /// None failed, and the balancer counts as many as its clients do: no request was lost, and
    /// none was counted that was not there. Returns how long the slowest took.
    pub fn end_without_loss(self, lab: &Lab) -> Duration {
        let service = self.service.clone();
        let report = self.end();
        eprintln!("{report}");
        assert_eq!(report.failed(), 0, "{report}");
        let target = format!("/v1/services/{service}");
        lab.until("a ledger that balances with the clients' own", SOON, || {
            let counted = lab.api.get::<ServiceView>(&target).ok()?.requests;
            assert_eq!(counted.lost, 0, "{counted:?}");
            (counted.accepted == report.succeeded && counted.in_flight == 0).then_some(())
        });
        report.latency.max()
    }
}
