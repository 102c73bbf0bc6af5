//! From limited targets to what a pass is to do: plan, ask what the current release is where there is something to do,
//! plan again.
//!
//! `serve` carries out what comes of it and `check` says it; there is one place for it, so that the one never says what
//! the other would not do. Who asks, and until when, is the caller's affair.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    machines::ApiError,
    scaling::{
        Busyness, Elsewhere, Group, Limited, Machine, Memory, Note, Now, Observed, Plan, Planner,
        Policy, Release, ReleaseView,
    },
};

/// What a pass is to do.
#[derive(Debug)]
pub struct Decided {
    /// The plan: where somebody was asked, the one by the answer.
    pub plan: Plan,
    /// Whether a deploy is under way: nothing of the plan is then to be done.
    pub held: bool,
    /// What the question about the current release was answered; `None`: there was nothing to do, and nobody was asked.
    pub asked: Option<ReleaseAnswer>,
}

impl Decided {
    /// Why nothing may be done: the question was refused, and did not merely go unanswered.
    #[must_use]
    pub fn refusal(&self) -> Option<&ApiError> {
        let error = self.asked.as_deref()?.as_ref().err()?;
        (!error.is_no_answer()).then_some(error)
    }
}

/// What was answered about the current release, which is asked for once for all fleets of an app.
pub type ReleaseAnswer = Arc<Result<Option<Release>, ApiError>>;

/// What a pass was told of the current release.
#[derive(Debug, Clone)]
pub struct Told {
    /// The last question's answer.
    pub last: ReleaseAnswer,
    /// The answer of an earlier question, where the last one had none.
    pub earlier: Option<ReleaseAnswer>,
}

impl Told {
    /// The last question was answered so, after `before`.
    #[must_use]
    pub fn after(before: Option<&Self>, last: ReleaseAnswer) -> Self {
        let no_answer = last.as_ref().as_ref().is_err_and(ApiError::is_no_answer);
        let before = before.filter(|_| no_answer);
        let earlier = before.and_then(|before| match &*before.last {
            Ok(_) => Some(Arc::clone(&before.last)),
            Err(_) => before.earlier.clone(),
        });
        Self { last, earlier }
    }
}

/// The place of one region's fleet among those of its process group, whose plans are made beside each other.
#[derive(Debug, Clone)]
pub struct Place {
    group: Arc<Mutex<Group>>,
    at: usize,
}

impl Place {
    /// Those of the fleets that see this, in their order. `strays` as in [`Group::of`].
    #[must_use]
    pub fn of_each(fleets: &[&Observed], strays: &[Machine]) -> Vec<Self> {
        let group = Group::of(fleets.iter().copied(), strays);
        let group = Arc::new(Mutex::new(group));
        let places = (0..fleets.len()).map(|at| Self {
            group: Arc::clone(&group),
            at,
        });
        places.collect()
    }

    /// What there is of the group beside the fleet, as plans leave it that were made so far, to one that goes by `policy`.
    #[must_use]
    pub fn beside(&self, policy: &Policy) -> Elsewhere {
        self.group().beside(self.at, policy)
    }

    /// The fleet sees this by now, of which it has told nobody that it is to go.
    pub fn see(&self, observed: &Observed) {
        self.group().see(self.at, observed);
    }

    fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a pass before it is decided what to do in it.
#[derive(Debug)]
pub struct Undecided<'pass> {
    /// What it sees.
    pub observed: &'pass mut Observed,
    /// The fleet's place in its group, where each region is a fleet.
    pub place: Option<&'pass Place>,
    /// What it is to reach.
    pub limited: &'pass Limited,
    /// What it goes by.
    pub policy: &'pass Policy,
    /// What is remembered of earlier ones.
    pub memory: &'pass mut Memory,
    /// When it began.
    pub now: Now,
}

impl Undecided<'_> {
    /// Resolves what to do. `ask` is awaited only where there is something to do, and `ask_busy` only where something that
    /// runs is to be stopped or destroyed and the policy wants to know how busy that is.
    pub async fn decide(
        mut self,
        ask: impl Future<Output = Told>,
        ask_busy: impl Future<Output = Busyness>,
    ) -> Decided {
        let first = self.plan(ReleaseView::NotAsked);
        let as_planned = |plan, asked| Decided {
            plan,
            held: false,
            asked,
        };
        if first.action.is_none() {
            return as_planned(first, None);
        }
        let Told {
            last: answer,
            earlier,
        } = ask.await;
        let view = match &*answer {
            Ok(known) => ReleaseView::Known(known.as_ref()),
            Err(error) if error.is_no_answer() => ReleaseView::NoAnswer,
            Err(_) => return as_planned(first, Some(Arc::clone(&answer))),
        };
        let mut plan = self.plan(view);
        let mut held = false;
        // That a deploy is under way, a question without an answer does not undo; that none was says nothing of now.
        if let Ok(release) = earlier.as_deref().unwrap_or(&answer) {
            held = self
                .memory
                .release_in_progress(release.as_ref(), self.policy, self.now);
            if held {
                let version = release.as_ref().and_then(|release| release.version);
                // Said beside it, this would contradict it: nothing is destroyed while the deploy lasts.
                plan.notes
                    .retain(|note| !matches!(note, Note::RunningSurplusWaits { .. }));
                plan.notes.push(Note::DeployInProgress { version });
            }
        }
        // Of the plan that is carried out: nothing that runs is taken without this answer.
        if !held && self.policy.asks_busy && plan.takes_running() {
            self.observed.busyness = ask_busy.await.about(self.observed);
            plan = self.plan(view);
        }
        if let Some(place) = self.place.filter(|_| !held) {
            // Nothing is awaited between this plan and here: no other fleet has counted its victims meanwhile.
            place.group().take(place.at, &plan, self.observed);
        }
        Decided {
            plan,
            held,
            asked: Some(answer),
        }
    }

    fn plan(&mut self, release: ReleaseView<'_>) -> Plan {
        if let Some(place) = self.place {
            self.observed.elsewhere = place.beside(self.policy);
        }
        let planner = Planner {
            observed: self.observed,
            policy: self.policy,
            memory: self.memory,
            release,
            now: self.now,
        };
        planner.plan(self.limited)
    }
}
