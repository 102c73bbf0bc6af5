//! The judge of the pool: an app's pass begins when it is due, unless other apps hold every place.

use std::time::Duration;

use fly_autoscaler::sim::Operation;

use super::{
    generator::{Freezes, Scenario},
    oracle::SLACK,
    tally::Tally,
    wire::{Pass, Talk, Wire},
};

/// Who holds a place of `FAS_CONCURRENCY`, and since when.
pub(super) struct Places {
    concurrency: usize,
    interval: Duration,
    timeout: Duration,
    freezes: Freezes,
    /// How many passes of each app have been judged.
    judged: Vec<usize>,
    tally: Tally,
}

impl Places {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let rules = &scenario.apps[0].fleets[0].rules;
        Self {
            concurrency: scenario.concurrency,
            interval: rules.interval,
            timeout: rules.timeout,
            freezes: scenario.freezes.clone(),
            judged: vec![0; scenario.apps.len()],
            tally: Tally::default(),
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Judges passes that have begun so long ago that whoever held a place then has ended.
    pub(super) fn look(&mut self, apps: &[Talk], now: Duration) -> Result<(), String> {
        if apps.len() == 1 {
            return Ok(());
        }
        for (app, talk) in apps.iter().enumerate() {
            let wire = &talk.whole;
            while wire.passes.get(self.judged[app] + 1).is_some_and(|next| {
                let known = self.freezes.after(next.start, self.timeout) + SLACK;
                known < now
            }) {
                self.judge(apps, app, self.judged[app])?;
                self.judged[app] += 1;
            }
        }
        Ok(())
    }

    /// Whether the pass after this one began in time.
    fn judge(&mut self, apps: &[Talk], app: usize, index: usize) -> Result<(), String> {
        let wire = &apps[app].whole;
        let (pass, next) = (&wire.passes[index], &wire.passes[index + 1]);
        if pass.life != next.life {
            return Ok(());
        }
        let due = (pass.start + self.interval).max(self.end(wire, index, Duration::MAX));
        let mut waited = due;
        while waited + SLACK < next.start {
            // A frozen process begins nothing.
            waited = self.freezes.awake(waited);
            if waited + SLACK >= next.start {
                break;
            }
            let mut held: Vec<Duration> = apps
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != app)
                .filter_map(|(_, talk)| {
                    let other = &talk.whole;
                    let running = other
                        .passes
                        .partition_point(|pass| pass.start <= waited + SLACK);
                    let running = running.checked_sub(1)?;
                    let end = self.end(other, running, next.start);
                    (end > waited).then_some(end)
                })
                .collect();
            held.sort_unstable();
            if held.len() < self.concurrency {
                return Err(format!(
                    "pass {index} of app {app} at {:?} was due again at {due:?}, began at {:?}, and a place was free at {waited:?}",
                    pass.start, next.start
                ));
            }
            // Until then no place becomes free.
            self.tally.note("waits for a place");
            waited = held[held.len() - self.concurrency];
        }
        Ok(())
    }

    /// When a pass had ended at the latest: one that asked for nothing but metrics and machines with the last answer, unless
    /// the process was frozen, or came to its end, while it waited to ask again.
    fn end(&self, wire: &Wire, index: usize, at_most: Duration) -> Duration {
        let pass: &Pass = &wire.passes[index];
        let mut last = pass.start;
        let mut acted = false;
        let mut asks_again = false;
        for exchange in wire.of_pass(index) {
            acted |= !matches!(exchange.operation, Operation::Query | Operation::List);
            last = last.max(exchange.ended.map_or(at_most, |(ended, _)| ended));
            asks_again |= !exchange.accepted();
        }
        let frozen = !self
            .freezes
            .longest_within(last, pass.start + self.timeout)
            .is_zero();
        let next = wire.passes.get(index + 1);
        // What it was told last may have asked it to wait for longer than the process lived.
        let ended_first = next.is_none_or(|next| next.life != pass.life);
        if acted || (asks_again && (frozen || ended_first)) {
            let next = next.map(|next| next.start);
            let latest = (pass.start + self.timeout).min(next.unwrap_or(Duration::MAX));
            last = last.max(latest);
        }
        last.min(at_most.max(pass.start))
    }
}
