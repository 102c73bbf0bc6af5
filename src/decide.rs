//! From limited targets to what a pass is to do: plan, ask what the current release is where there is something to do,
//! plan again.
//!
//! `serve` carries out what comes of it and `check` says it; there is one place for it, so that the one never says what
//! the other would not do. Who asks, and until when, is the caller's affair.

use crate::{
    machines::ApiError,
    scaling::{Limited, Memory, Note, Now, Observed, Plan, Policy, Release, ReleaseView, plan},
};

/// What a pass is to do.
#[derive(Debug)]
pub struct Decided {
    /// The plan: where somebody was asked, the one by the answer.
    pub plan: Plan,
    /// Whether a deploy is under way: nothing of the plan is then to be done.
    pub held: bool,
    /// What the question about the current release was answered; `None`: there was nothing to do, and nobody was asked.
    pub asked: Option<Result<Option<Release>, ApiError>>,
}

impl Decided {
    /// Why nothing may be done: the question was refused, and did not merely go unanswered.
    #[must_use]
    pub fn refusal(&self) -> Option<&ApiError> {
        let error = self.asked.as_ref()?.as_ref().err()?;
        (!error.is_no_answer()).then_some(error)
    }
}

/// Resolves what to do. `ask` is awaited only where there is something to do.
pub async fn decide(
    observed: &Observed,
    limited: &Limited,
    policy: &Policy,
    memory: &mut Memory,
    now: Now,
    ask: impl Future<Output = Result<Option<Release>, ApiError>>,
) -> Decided {
    let first = plan(
        observed,
        limited,
        policy,
        memory,
        ReleaseView::NotAsked,
        now,
    );
    let undecided = |plan, asked| Decided {
        plan,
        held: false,
        asked,
    };
    if first.action.is_none() {
        return undecided(first, None);
    }
    let answer = ask.await;
    let view = match &answer {
        Ok(known) => ReleaseView::Known(known.as_ref()),
        Err(error) if error.is_no_answer() => ReleaseView::NoAnswer,
        Err(_) => return undecided(first, Some(answer)),
    };
    let mut plan = plan(observed, limited, policy, memory, view, now);
    let mut held = false;
    if let Ok(release) = &answer {
        held = memory.release_in_progress(release.as_ref(), policy, now);
        if held {
            let version = release.as_ref().and_then(|release| release.version);
            plan.notes.push(Note::DeployInProgress { version });
        }
    }
    Decided {
        plan,
        held,
        asked: Some(answer),
    }
}
