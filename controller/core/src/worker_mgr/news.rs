//! What of a worker's reports is news: heartbeats repeat everything each second, the deployer hears
//! of changes only.

use std::collections::BTreeMap;

use tucano_common::id::InstanceId;
use tucano_common::wire::worker::{InstanceReport, Usage};

/// A worker's instances as the deployer was last told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    told: Vec<InstanceReport>,
    holds: Option<u64>,
    known: bool,
}

impl News {
    /// Whether these reports say anything that the deployer was not told; then they count as told.
    /// What instances use changes each second and is no news.
    pub fn take(&mut self, holds: Option<u64>, reports: &[InstanceReport]) -> bool {
        let same = self.known
            && self.holds == holds
            && self.told.len() == reports.len()
            && self.told.iter().zip(reports).all(|(a, b)| same_but_usage(a, b));
        if !same {
            self.told = reports.to_vec();
            self.holds = holds;
            self.known = true;
        }
        !same
    }
}

fn same_but_usage(a: &InstanceReport, b: &InstanceReport) -> bool {
    a.usage == b.usage && a == b || InstanceReport { usage: b.usage, ..a.clone() } == *b
}

/// What each instance uses.
pub fn usage(reports: &[InstanceReport]) -> BTreeMap<InstanceId, Usage> {
    reports.iter().map(|report| (report.id, report.usage)).collect()
}

#[cfg(test)]
mod tests {
    use tucano_common::name::ServiceName;
    use tucano_common::time::Wall;
    use tucano_common::wire::worker::RunState;

    use super::*;

    fn report(id: u64, healthy: bool, memory_bytes: u64) -> InstanceReport {
        InstanceReport {
            id: InstanceId(id),
            service: ServiceName::new("web").unwrap(),
            revision: 1,
            generation: 1,
            state: RunState::Running,
            since: Wall(0),
            healthy,
            port: Some(20_000),
            pid: Some(1),
            started_at: None,
            restarts: 0,
            restart_nonce: 0,
            failures_in_row: 0,
            failure: None,
            waits_for: None,
            usage: Usage { memory_bytes, ..Usage::default() },
        }
    }

    #[test]
    fn only_changes_are_news_and_usage_is_none() {
        let mut news = News::default();
        assert!(news.take(None, &[]), "the first word is news, also an empty one");
        assert!(!news.take(None, &[]));
        assert!(news.take(Some(1), &[]), "it holds other assignments");
        assert!(news.take(Some(1), &[report(1, true, 10)]));
        assert!(!news.take(Some(1), &[report(1, true, 20)]), "only what it uses");
        assert!(news.take(Some(1), &[report(1, false, 20)]));
        assert!(news.take(Some(1), &[report(1, false, 20), report(2, true, 0)]));
        assert!(news.take(Some(1), &[report(2, true, 0)]), "one is gone");
        assert!(!news.take(Some(1), &[report(2, true, 0)]));
    }

    #[test]
    fn usage_is_by_instance() {
        let used = usage(&[report(1, true, 10), report(2, true, 20)]);
        assert_eq!(used[&InstanceId(2)].memory_bytes, 20);
    }
}
