//! Which instances to make and which to end, from how a service stands: start-first, as a level.
//!
//! A function of the moment: called again with what came of its own moves it goes on, with nothing
//! new it does nothing. It knows nothing of deployments: bringing a revision up, replacing what was
//! lost, emptying a worker, going back to an older revision and scaling are the same rule.
//!
//! - *current* instances are what is asked for; *old* ones are everything else that stays: another
//!   revision, an earlier restart, a worker that is being drained.
//! - Old ones that answer no requests contribute nothing: they leave at once.
//! - Old ones that do leave only as far as ready current ones make up for them: never fewer than
//!   asked for because of a rollout.
//! - Current ones are made up to what is asked for, while all that stay are at most that plus the
//!   surge. Where nothing old stays there is nothing to surge over, and all are made at once.

use tucano_common::id::InstanceId;

/// An instance that stays (pending or placed), as the rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: InstanceId,
    pub(super) standing: Standing,
    pub(super) progress: Progress,
    /// Its worker is suspect.
    pub(super) suspect: bool,
    /// Instances of the service on its worker that are worth more than it: on a crowded worker the
    /// last goes first.
    pub(super) crowd: u32,
}

/// Whether an instance is what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is.
    Current,
    /// It is not.
    Old,
    /// It is not, and its time to leave in order is over (the deadline of a drain).
    Overdue,
}

/// How far an instance is; later ones are worth more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// On no worker.
    Waiting,
    /// On a worker, not ready yet, or not any more.
    Coming,
    /// Passes its health check, not for long enough yet to count.
    Healthy,
    /// Counts.
    Ready,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// So many current ones.
    pub(super) make: usize,
    /// Old ones that leave.
    pub(super) retire: Vec<InstanceId>,
    /// Current ones that are too many.
    pub(super) shed: Vec<InstanceId>,
}

/// What to do now, for `count` instances with at most `surge` more while something changes. `done`
/// have ended by themselves as they should, and count as ready.
pub(super) fn rollout(members: &[Member], count: usize, surge: usize, done: usize) -> Moves {
    let wanted = count.saturating_sub(done);
    let mut current: Vec<&Member> =
        members.iter().filter(|each| each.standing == Standing::Current).collect();
    current.sort_by_key(|member| worth(member));
    let surplus = current.len().saturating_sub(wanted);
    let mut shed: Vec<InstanceId> = current.drain(..surplus).map(|each| each.id).collect();

    let mut old: Vec<&Member> =
        members.iter().filter(|each| each.standing == Standing::Old).collect();
    old.sort_by_key(|member| worth(member));
    let serving = |member: &&&Member| member.progress >= Progress::Healthy;
    let idle = old.iter().filter(|member| !serving(member)).count();
    let ready = current.iter().filter(|each| each.progress == Progress::Ready).count();
    let still_needed = wanted.saturating_sub(ready);
    let mut leaving = idle + (old.len() - idle).saturating_sub(still_needed);
    // Without a surge one old one goes ahead of its successor, if nothing else is on its way.
    let on_its_way = current.len() > ready;
    if surge == 0 && leaving < old.len() && current.len() < wanted && !on_its_way {
        let full = current.len() + (old.len() - leaving) >= wanted;
        leaving += usize::from(full);
    }
    let overdue = members.iter().filter(|each| each.standing == Standing::Overdue);
    let retire = old.drain(..leaving).chain(overdue).map(|each| each.id).collect();

    // Ones that wait for a worker, inherited from what was asked for before, are made again when
    // their turn comes.
    let bound = wanted + surge.max(1);
    let waiting = current.iter().filter(|each| each.progress == Progress::Waiting).count();
    let excess = (current.len() + old.len()).saturating_sub(bound).min(waiting);
    if !old.is_empty() {
        shed.extend(current.drain(..excess).map(|each| each.id));
    }
    let missing = wanted - current.len().min(wanted);
    let make = if old.is_empty() {
        missing
    } else {
        missing.min((wanted + surge).saturating_sub(current.len() + old.len()))
    };
    Moves { make, retire, shed }
}

/// What goes first is worth the least: what is least far, what stands badly, what is newest.
fn worth(member: &Member) -> (Progress, bool, u32, std::cmp::Reverse<InstanceId>) {
    let well_placed = u32::MAX - member.crowd;
    (member.progress, !member.suspect, well_placed, std::cmp::Reverse(member.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, standing: Standing, progress: Progress) -> Member {
        Member { id: InstanceId(id), standing, progress, suspect: false, crowd: 1 }
    }

    const STANDINGS: [Standing; 3] = [Standing::Current, Standing::Old, Standing::Overdue];
    const PROGRESS: [Progress; 4] =
        [Progress::Waiting, Progress::Coming, Progress::Healthy, Progress::Ready];

    /// Calls `each` with every service of up to `max` members (as multisets), every count and
    /// surge.
    fn every_service(max: usize, each: &mut impl FnMut(&[Member], usize, usize)) {
        fn grow(
            from: usize,
            members: &mut Vec<Member>,
            max: usize,
            each: &mut impl FnMut(&[Member], usize, usize),
        ) {
            for count in 0..=4 {
                for surge in 0..=2 {
                    each(members, count, surge);
                }
            }
            if members.len() == max {
                return;
            }
            for kind in from..STANDINGS.len() * PROGRESS.len() {
                let (standing, progress) = (STANDINGS[kind / 4], PROGRESS[kind % 4]);
                members.push(member(members.len() as u64, standing, progress));
                grow(kind, members, max, each);
                members.pop();
            }
        }
        grow(0, &mut Vec::new(), max, each);
    }

    fn after(members: &[Member], moves: &Moves) -> Vec<Member> {
        let gone = |id| moves.retire.contains(&id) || moves.shed.contains(&id);
        let mut after: Vec<Member> =
            members.iter().copied().filter(|each| !gone(each.id)).collect();
        for n in 0..moves.make {
            after.push(member(1000 + n as u64, Standing::Current, Progress::Waiting));
        }
        after
    }

    #[test]
    fn its_own_moves_leave_nothing_to_do() {
        every_service(4, &mut |members, count, surge| {
            let moves = rollout(members, count, surge, 0);
            let then = rollout(&after(members, &moves), count, surge, 0);
            assert_eq!(then, Moves::default(), "{members:?} {count} {surge} {moves:?}");
        });
    }

    #[test]
    fn a_rollout_never_takes_what_is_needed() {
        every_service(4, &mut |members, count, surge| {
            let moves = rollout(members, count, surge, 0);
            let serving = |of: &[Member]| {
                let serves = |each: &&Member| {
                    each.standing != Standing::Overdue && each.progress >= Progress::Healthy
                };
                of.iter().filter(serves).count()
            };
            let before = serving(members).min(count);
            let slack = usize::from(surge == 0);
            let left = serving(&after(members, &moves));
            assert!(left + slack >= before, "{members:?} {count} {surge} {moves:?}");
        });
    }

    #[test]
    fn never_more_than_asked_for_and_the_surge() {
        every_service(4, &mut |members, count, surge| {
            let moves = rollout(members, count, surge, 0);
            let total = after(members, &moves).len();
            // What is there already may be more; then nothing is made.
            assert!(moves.make == 0 || total <= count + surge, "{members:?} {moves:?}");
        });
    }

    #[test]
    fn it_comes_to_an_end() {
        every_service(3, &mut |members, count, surge| {
            let mut now = members.to_vec();
            for _ in 0..20 {
                now = after(&now, &rollout(&now, count, surge, 0));
                for (n, each) in now.iter_mut().enumerate() {
                    if each.standing == Standing::Current {
                        each.progress = Progress::Ready;
                    }
                    each.id = InstanceId(n as u64);
                }
            }
            let fine = |each: &Member| each.standing == Standing::Current;
            assert!(now.len() == count && now.iter().all(fine), "{members:?} {count} {now:?}");
        });
    }

    #[test]
    fn the_unhealthy_the_worst_placed_and_the_newest_go_first() {
        let mut members: Vec<Member> =
            (0..5).map(|id| member(id, Standing::Current, Progress::Ready)).collect();
        members[1].crowd = 3;
        members[2].progress = Progress::Coming;
        members[3].suspect = true;
        let shed = |count| {
            let moves = rollout(&members, count, 1, 0);
            moves.shed.iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(shed(4), [2]);
        assert_eq!(shed(3), [2, 3]);
        assert_eq!(shed(2), [2, 3, 1]);
        assert_eq!(shed(1), [2, 3, 1, 4]);
        assert_eq!(shed(0).len(), 5);
    }

    #[test]
    fn what_ended_by_itself_as_it_should_is_not_made_again() {
        assert_eq!(rollout(&[], 3, 1, 2).make, 1);
        assert_eq!(rollout(&[], 3, 1, 3).make, 0);
    }
}
