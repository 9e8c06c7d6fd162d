//! What a rollout does next, or what it waits for. Pure: `execute` carries it out.

use std::collections::BTreeMap;

use super::left::Left;
use super::{OnTimeout, Phase, Rollout, canary, names};
use crate::ids::ClusterName;
use crate::store::Intent;
use crate::store::rollout::{EndedQuery, Wish};

/// What is seen at one moment.
#[derive(Debug, Default)]
pub(super) struct World {
    /// In milliseconds since 1970.
    pub(super) now_ms: u64,
    /// The clusters of the file.
    pub(super) clusters: BTreeMap<ClusterName, Seen>,
    /// The group's queries that have ended since the phase began.
    pub(super) ended: Vec<EndedQuery>,
    /// Who wants it aborted.
    pub(super) abort: Option<Wish>,
}

/// What is seen of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) intent: Intent,
    pub(super) ready: bool,
    /// Why it is not.
    pub(super) why: String,
    /// What is left there; only of those that are to end.
    pub(super) left: Left,
}

/// Something to do. Doing it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Wants something of a cluster.
    Want(ClusterName, Intent),
    /// Ends all queries of a cluster.
    Kill(ClusterName),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    /// What is done, in this order.
    pub(super) acts: Vec<Act>,
    /// The phase after that.
    pub(super) phase: Phase,
    /// What it does or waits for, or why the phase changes.
    pub(super) told: String,
}

/// Says what comes next.
pub(super) fn plan(rollout: &Rollout, world: &World) -> Next {
    if !matches!(rollout.phase, Phase::Aborting | Phase::Done | Phase::Aborted)
        && let Some(why) = obstacle(rollout, world)
    {
        return moved(Phase::Aborting, why);
    }
    match rollout.phase {
        Phase::Waiting => waiting(rollout, world),
        Phase::Canary => watching(rollout, world),
        Phase::Shifting => shifting(rollout, world),
        Phase::Draining => draining(rollout, world),
        Phase::Deactivating => deactivating(rollout),
        Phase::Aborting => aborting(rollout, world),
        phase @ (Phase::Done | Phase::Aborted) => moved(phase, rollout.told.clone()),
    }
}

/// Why it cannot go on.
fn obstacle(rollout: &Rollout, world: &World) -> Option<String> {
    if let Some(Wish { actor, reason, .. }) = &world.abort {
        return Some(format!("{actor} aborted it: {reason}"));
    }
    let mut named = std::iter::once(&rollout.to).chain(&rollout.from);
    let missing = named.find(|name| !world.clusters.contains_key(*name))?;
    Some(format!("the settings have no cluster {missing} any more"))
}

fn moved(phase: Phase, told: String) -> Next {
    Next { acts: Vec::new(), phase, told }
}

fn waiting(rollout: &Rollout, world: &World) -> Next {
    let target = &world.clusters[&rollout.to];
    // One that is drained or drains is looked at all the same; operators see that it is wanted.
    let acts = match target.intent {
        Intent::Active | Intent::Standby => Vec::new(),
        Intent::Draining | Intent::Drained => vec![Act::Want(rollout.to.clone(), Intent::Standby)],
    };
    if !target.ready {
        let told = format!("waiting until {} is ready: {}", rollout.to, target.why);
        return Next { acts, phase: Phase::Waiting, told };
    }
    let (phase, told) = match rollout.canary {
        Some(canary) if target.intent != Intent::Active => {
            let share = format!("{} is ready and takes {} %", rollout.to, canary.percent);
            (Phase::Canary, format!("{share} of the new queries"))
        }
        _ => (Phase::Shifting, format!("{} is ready", rollout.to)),
    };
    Next { acts, phase, told }
}

fn watching(rollout: &Rollout, world: &World) -> Next {
    let target = &world.clusters[&rollout.to];
    if !target.ready {
        let told = format!("{} is not ready any more: {}", rollout.to, target.why);
        return moved(Phase::Aborting, told);
    }
    if let Some(why) = canary::worse(&rollout.to, &world.ended) {
        return moved(Phase::Aborting, format!("{} does worse: {why}", rollout.to));
    }
    let own = world.ended.iter().filter(|query| query.cluster == rollout.to.as_str()).count();
    let (percent, for_ms) = rollout.canary.map_or((0, 0), |c| (c.percent, c.for_ms));
    let left_ms = (rollout.since_ms + for_ms).saturating_sub(world.now_ms);
    if left_ms == 0 {
        return moved(
            Phase::Shifting,
            format!("{own} queries ended at {}, none worse", rollout.to),
        );
    }
    let told = format!(
        "{} takes {percent} % of the new queries for {} s more; {own} have ended there",
        rollout.to,
        left_ms.div_ceil(1000)
    );
    moved(Phase::Canary, told)
}

fn shifting(rollout: &Rollout, world: &World) -> Next {
    let target = &world.clusters[&rollout.to];
    if !target.ready {
        let told = format!("{} is not ready any more: {}", rollout.to, target.why);
        return moved(Phase::Waiting, told);
    }
    // The target first: for a moment two are better than none.
    let mut acts = vec![Act::Want(rollout.to.clone(), Intent::Active)];
    acts.extend(rollout.from.iter().map(|name| Act::Want(name.clone(), Intent::Draining)));
    let told = format!("new queries go to {}", rollout.to);
    Next { acts, phase: Phase::Draining, told }
}

fn draining(rollout: &Rollout, world: &World) -> Next {
    let rest = rollout.from.iter().map(|name| (name, &world.clusters[name].left));
    let rest: Vec<_> = rest.filter(|(_, left)| !left.is_nothing()).collect();
    if rest.is_empty() {
        return moved(Phase::Deactivating, format!("nothing is left at {}", names(&rollout.from)));
    }
    let words: Vec<_> =
        rest.iter().map(|(name, left)| format!("{name}: {}", left.in_words())).collect();
    let words = words.join("; ");
    let late = world.now_ms >= rollout.since_ms.saturating_add(rollout.drain_timeout_ms);
    match rollout.on_timeout {
        OnTimeout::Abort if late => {
            moved(Phase::Aborting, format!("the time for draining has passed; {words}"))
        }
        OnTimeout::Kill if late => {
            let acts = rest.iter().map(|(name, _)| Act::Kill((*name).clone())).collect();
            let told = format!("the time for draining has passed, its queries are killed; {words}");
            Next { acts, phase: Phase::Draining, told }
        }
        OnTimeout::Wait if late => moved(
            Phase::Draining,
            format!("the time for draining has passed, still waiting; {words}"),
        ),
        OnTimeout::Wait | OnTimeout::Abort | OnTimeout::Kill => moved(Phase::Draining, words),
    }
}

fn deactivating(rollout: &Rollout) -> Next {
    let acts = rollout.from.iter().map(|name| Act::Want(name.clone(), Intent::Drained)).collect();
    let told = format!("{} has taken over; {} may be stopped", rollout.to, names(&rollout.from));
    Next { acts, phase: Phase::Done, told }
}

/// Gives back what was wanted before: those that take queries first.
fn aborting(rollout: &Rollout, world: &World) -> Next {
    let known = rollout.before.iter().filter(|(name, _)| world.clusters.contains_key(*name));
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|(_, intent)| **intent != Intent::Active);
    let back = |(name, intent): &(&ClusterName, &Intent)| match **intent {
        // It may have taken queries in between, and finishes them.
        Intent::Drained if **name == rollout.to => Act::Want((*name).clone(), Intent::Draining),
        intent => Act::Want((*name).clone(), intent),
    };
    let acts = known.iter().map(back).collect();
    let told = rollout.told.clone();
    Next { acts, phase: Phase::Aborted, told }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::Duration;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::ids::GroupName;
    use crate::rollout::{Asked, Canary};

    fn name(text: &str) -> ClusterName {
        ClusterName::parse(text).expect("a good name")
    }

    fn rollout(canary: Option<Canary>, on_timeout: OnTimeout) -> Rollout {
        let asked = Asked {
            group: GroupName::parse("bi").expect("a good name"),
            to: name("green"),
            from: vec![name("blue")],
            drain_timeout: Duration::from_secs(60),
            on_timeout,
            canary,
            actor: "ada".to_owned(),
            reason: "daily".to_owned(),
        };
        let before =
            BTreeMap::from([(name("blue"), Intent::Active), (name("green"), Intent::Drained)]);
        Rollout::new(asked, before, 0)
    }

    /// What happens between two looks.
    enum Event {
        /// Seconds pass.
        Pass(u64),
        /// The target is ready, or not.
        Ready(bool),
        /// So many queries are left at the other one.
        Left(u32),
        /// So many queries ended at the canary, of which so many failed.
        Ended(usize, usize),
        /// Somebody aborts it.
        Abort,
        /// The file has the other one no more.
        Vanish,
    }
    use Event::{Abort, Ended, Left as Leaves, Pass, Ready, Vanish};

    /// Plays a script, looking after each event until nothing moves, and tells what was done.
    fn check(mut rollout: Rollout, script: &[Event], expected: &Expect) {
        let seen = |intent, ready: bool| Seen {
            intent,
            ready,
            why: if ready { "ready" } else { "booting" }.to_owned(),
            left: Left { listed: Some(0), open: Some(0), ..Left::default() },
        };
        let mut world = World::default();
        world.clusters.insert(name("blue"), seen(Intent::Active, true));
        world.clusters.insert(name("green"), seen(Intent::Drained, false));
        let mut told = String::new();
        for event in script {
            match *event {
                Pass(seconds) => world.now_ms += seconds * 1000,
                Ready(ready) => {
                    let green = world.clusters.get_mut("green").expect("it is there");
                    (green.ready, green.why) = (ready, "lost".to_owned());
                }
                Leaves(queries) => {
                    let blue = world.clusters.get_mut("blue").expect("it is there");
                    blue.left.listed = Some(queries);
                }
                Ended(count, failed) => {
                    world.ended = (0..count)
                        .map(|number| EndedQuery {
                            cluster: "green".to_owned(),
                            took_ms: 5,
                            error: (number < failed).then(|| "X".to_owned()),
                        })
                        .collect();
                }
                Abort => {
                    let (actor, reason) = ("bob".to_owned(), "slow".to_owned());
                    world.abort = Some(Wish { actor, reason, at_ms: 0 });
                }
                Vanish => drop(world.clusters.remove("blue")),
            }
            settle(&mut rollout, &mut world, &mut told);
        }
        expected.assert_eq(&told);
    }

    fn settle(rollout: &mut Rollout, world: &mut World, told: &mut String) {
        loop {
            let next = plan(rollout, world);
            for act in &next.acts {
                if let Act::Want(name, intent) = act
                    && let Some(seen) = world.clusters.get_mut(name)
                    && std::mem::replace(&mut seen.intent, *intent) != *intent
                {
                    writeln!(told, "  {name} is to be {}", intent.as_str()).expect("to memory");
                }
                if let Act::Kill(name) = act {
                    writeln!(told, "  the queries of {name} are killed").expect("to memory");
                }
            }
            let moves = next.phase != rollout.phase;
            writeln!(told, "{} s {}: {}", world.now_ms / 1000, next.phase.as_str(), next.told)
                .expect("to memory");
            if !moves {
                return;
            }
            rollout.enter(next.phase, next.told, world.now_ms);
        }
    }

    #[test]
    fn one_takes_over_and_the_other_finishes() {
        check(
            rollout(None, OnTimeout::Wait),
            &[Pass(1), Leaves(3), Ready(true), Pass(5), Leaves(1), Pass(60), Leaves(0)],
            &expect![[r#"
                  green is to be standby
                1 s waiting: waiting until green is ready: booting
                1 s waiting: waiting until green is ready: booting
                1 s shifting: green is ready
                  green is to be active
                  blue is to be draining
                1 s draining: new queries go to green
                1 s draining: blue: 3 queries
                6 s draining: blue: 3 queries
                6 s draining: blue: 1 query
                66 s draining: the time for draining has passed, still waiting; blue: 1 query
                66 s deactivating: nothing is left at blue
                  blue is to be drained
                66 s done: green has taken over; blue may be stopped
                66 s done: green has taken over; blue may be stopped
            "#]],
        );
    }

    #[test]
    fn a_canary_that_does_no_worse_goes_on() {
        let canary = Some(Canary { percent: 5, for_ms: 10_000 });
        check(
            rollout(canary, OnTimeout::Wait),
            &[Ready(true), Pass(4), Ended(9, 1), Pass(6)],
            &expect![[r#"
                  green is to be standby
                0 s canary: green is ready and takes 5 % of the new queries
                0 s canary: green takes 5 % of the new queries for 10 s more; 0 have ended there
                4 s canary: green takes 5 % of the new queries for 6 s more; 0 have ended there
                4 s canary: green takes 5 % of the new queries for 6 s more; 9 have ended there
                10 s shifting: 9 queries ended at green, none worse
                  green is to be active
                  blue is to be draining
                10 s draining: new queries go to green
                10 s deactivating: nothing is left at blue
                  blue is to be drained
                10 s done: green has taken over; blue may be stopped
                10 s done: green has taken over; blue may be stopped
            "#]],
        );
    }

    #[test]
    fn a_canary_that_fails_gives_all_back() {
        let canary = Some(Canary { percent: 5, for_ms: 10_000 });
        check(
            rollout(canary, OnTimeout::Wait),
            &[Ready(true), Ended(9, 4)],
            &expect![[r#"
                    green is to be standby
                  0 s canary: green is ready and takes 5 % of the new queries
                  0 s canary: green takes 5 % of the new queries for 10 s more; 0 have ended there
                  0 s aborting: green does worse: 44 % of its 9 queries failed, and 0 % elsewhere
                    green is to be draining
                  0 s aborted: green does worse: 44 % of its 9 queries failed, and 0 % elsewhere
                  0 s aborted: green does worse: 44 % of its 9 queries failed, and 0 % elsewhere
            "#]],
        );
        check(
            rollout(canary, OnTimeout::Wait),
            &[Ready(true), Ready(false)],
            &expect![[r#"
                    green is to be standby
                  0 s canary: green is ready and takes 5 % of the new queries
                  0 s canary: green takes 5 % of the new queries for 10 s more; 0 have ended there
                  0 s aborting: green is not ready any more: lost
                    green is to be draining
                  0 s aborted: green is not ready any more: lost
                  0 s aborted: green is not ready any more: lost
            "#]],
        );
    }

    #[test]
    fn what_takes_too_long_is_aborted_or_killed() {
        let script = [Leaves(2), Ready(true), Pass(60)];
        check(
            rollout(None, OnTimeout::Abort),
            &script,
            &expect![[r#"
                  green is to be standby
                0 s waiting: waiting until green is ready: booting
                0 s shifting: green is ready
                  green is to be active
                  blue is to be draining
                0 s draining: new queries go to green
                0 s draining: blue: 2 queries
                60 s aborting: the time for draining has passed; blue: 2 queries
                  blue is to be active
                  green is to be draining
                60 s aborted: the time for draining has passed; blue: 2 queries
                60 s aborted: the time for draining has passed; blue: 2 queries
            "#]],
        );
        check(
            rollout(None, OnTimeout::Kill),
            &script,
            &expect![[r#"
                  green is to be standby
                0 s waiting: waiting until green is ready: booting
                0 s shifting: green is ready
                  green is to be active
                  blue is to be draining
                0 s draining: new queries go to green
                0 s draining: blue: 2 queries
                  the queries of blue are killed
                60 s draining: the time for draining has passed, its queries are killed; blue: 2 queries
            "#]],
        );
    }

    #[test]
    fn an_abort_takes_traffic_back_at_any_time() {
        check(
            rollout(None, OnTimeout::Wait),
            &[Pass(1), Abort],
            &expect![[r#"
                    green is to be standby
                  1 s waiting: waiting until green is ready: booting
                  1 s aborting: bob aborted it: slow
                    green is to be draining
                  1 s aborted: bob aborted it: slow
                  1 s aborted: bob aborted it: slow
            "#]],
        );
        let late = [Leaves(2), Ready(true), Abort];
        check(
            rollout(None, OnTimeout::Wait),
            &late,
            &expect![[r#"
                    green is to be standby
                  0 s waiting: waiting until green is ready: booting
                  0 s shifting: green is ready
                    green is to be active
                    blue is to be draining
                  0 s draining: new queries go to green
                  0 s draining: blue: 2 queries
                  0 s aborting: bob aborted it: slow
                    blue is to be active
                    green is to be draining
                  0 s aborted: bob aborted it: slow
                  0 s aborted: bob aborted it: slow
            "#]],
        );
        check(
            rollout(None, OnTimeout::Wait),
            &[Ready(true), Abort],
            &expect![[r#"
                    green is to be standby
                  0 s shifting: green is ready
                    green is to be active
                    blue is to be draining
                  0 s draining: new queries go to green
                  0 s deactivating: nothing is left at blue
                    blue is to be drained
                  0 s done: green has taken over; blue may be stopped
                  0 s done: green has taken over; blue may be stopped
                  0 s done: green has taken over; blue may be stopped
            "#]],
        );
        check(
            rollout(None, OnTimeout::Wait),
            &[Leaves(1), Ready(true), Vanish],
            &expect![[r#"
                green is to be standby
              0 s waiting: waiting until green is ready: booting
              0 s shifting: green is ready
                green is to be active
                blue is to be draining
              0 s draining: new queries go to green
              0 s draining: blue: 1 query
              0 s aborting: the settings have no cluster blue any more
                green is to be draining
              0 s aborted: the settings have no cluster blue any more
              0 s aborted: the settings have no cluster blue any more
        "#]],
        );
    }
}
