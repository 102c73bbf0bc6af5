//! Other copies of this program that run beside this one without a lock, as Fly's DNS shows them.
//!
//! `GROUP.process.APP.internal` has an address for each machine of the process group that runs; one that is stopped, as
//! the standby that a plain `fly deploy` makes, has none. Several addresses, twice and a minute apart, are a second copy,
//! which does once more what this one does. That is only said: DNS may be late, and a copy that stopped because of it could
//! be the only one.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use crate::{clock::Clock, error_chain::chain, metrics::Metrics, scaling::Now};

/// From one look to the next, and how long several addresses have to last: a deploy may be under way.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// From one line in the log to the next, while it lasts.
const REPEAT: Duration = Duration::from_secs(600);

/// How long what was heard last counts where there is no answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long the system may take to look a name up.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// Looks names up: the seam between this and the system.
pub trait Names: Send + Sync + 'static {
    /// The addresses that a name has now.
    fn addresses(&self, name: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>>;
}

/// The names that the system knows: on Fly, by its DNS.
#[derive(Debug, Clone, Copy)]
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            // On a thread that nobody waits for at the end.
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// How many machines have a name.
///
/// # Errors
///
/// Where the system does not say, with why: it is not known then.
pub async fn count(names: &dyn Names, name: &str) -> Result<usize, String> {
    match timeout(LOOKUP_LIMIT, names.addresses(name.to_owned())).await {
        Err(_) => Err(format!("no answer within {} s", LOOKUP_LIMIT.as_secs())),
        Ok(Err(error)) => Err(chain(&error)),
        Ok(Ok(addresses)) => Ok(addresses.into_iter().collect::<BTreeSet<_>>().len()),
    }
}

/// What to do about a second copy.
#[must_use]
pub fn advice(own_app: &str) -> String {
    format!(
        "run one copy (fly scale count 1 -a {own_app}), or attach a lock: fly consul attach -a {own_app}"
    )
}

/// Other copies that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Others {
    /// How many, beside this one.
    pub count: usize,
    /// Since when they are known.
    pub since: Timestamp,
    /// The autoscaler's own app.
    pub app: String,
}

impl Others {
    /// In one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let all = self.count + 1;
        format!(
            "{all} copies run without a lock, and each of them acts: what is missing is created {all} times."
        )
    }

    /// What to do about them.
    #[must_use]
    pub fn advice(&self) -> String {
        advice(&self.app)
    }
}

/// What is known of other copies; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Peers(Arc<Mutex<Option<Others>>>);

impl Peers {
    /// The others, if there are any.
    #[must_use]
    pub fn others(&self) -> Option<Others> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Others>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// So many machines run.
    Several(usize),
    /// There is one again.
    One,
}

/// What the answers so far come to.
#[derive(Debug, Clone, Default)]
struct Suspicion {
    /// The first answer with several addresses, since one had fewer.
    first: Option<Now>,
    /// The last answer of all.
    heard: Option<Now>,
    /// How many others there are, and since when that is known.
    others: Option<(usize, Timestamp)>,
    told: Option<Now>,
}

impl Suspicion {
    /// An answer with so many addresses has come; `None`: none has.
    fn hear(&mut self, addresses: Option<usize>, now: Now) -> Option<News> {
        let since = |then: Now| now.monotonic.saturating_duration_since(then.monotonic);
        let Some(addresses) = addresses else {
            if self.heard.is_some_and(|heard| since(heard) >= PATIENCE) {
                *self = Self::default();
            }
            return None;
        };
        self.heard = Some(now);
        if addresses < 2 {
            let was_told = self.told.is_some();
            *self = Self::default();
            return was_told.then_some(News::One);
        }
        let first = *self.first.get_or_insert(now);
        if since(first) < LOOK_INTERVAL {
            return None;
        }
        let (_, known) = self.others.unwrap_or((0, now.wall));
        self.others = Some((addresses - 1, known));
        if self.told.is_some_and(|told| since(told) < REPEAT) {
            return None;
        }
        self.told = Some(now);
        Some(News::Several(addresses))
    }
}

/// Looks for other copies, for as long as it is polled.
pub struct Watch {
    /// The autoscaler's own app.
    pub app: String,
    /// The name that has the addresses of all copies.
    pub name: String,
    /// Where it is looked up.
    pub names: Arc<dyn Names>,
    /// The time.
    pub clock: Clock,
    /// Where they are counted.
    pub metrics: Metrics,
    /// Where they are shown.
    pub peers: Peers,
}

impl Watch {
    /// Looks at once, and then every minute.
    pub async fn run(self) -> Infallible {
        let mut suspicion = Suspicion::default();
        loop {
            self.look(&mut suspicion).await;
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn look(&self, suspicion: &mut Suspicion) {
        let Self { app, name, .. } = self;
        let answer = count(self.names.as_ref(), name).await;
        if let Err(why) = &answer {
            tracing::debug!(error = %why, "cannot tell whether a second copy runs: {name}: {why}");
        }
        let news = suspicion.hear(answer.ok(), self.clock.now());
        let others = suspicion.others.map(|(count, since)| Others {
            count,
            since,
            app: app.clone(),
        });
        self.metrics
            .peers(others.as_ref().map_or(0, |others| others.count));
        match (news, &others) {
            (Some(News::Several(addresses)), Some(others)) => {
                let (sentence, advice) = (others.sentence(), others.advice());
                tracing::error!("{sentence} {name} has {addresses} addresses; {advice}");
            }
            (Some(News::One), _) => {
                tracing::info!("one copy runs again: {name} has one address");
            }
            _ => {}
        }
        *self.peers.lock() = others;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// When an answer comes, what it has, what is said, and what is known then.
    type Step = (u64, Option<usize>, Option<News>, Option<(usize, Timestamp)>);

    #[test]
    fn several_addresses_a_minute_apart_are_a_second_copy_and_said_every_ten_minutes() {
        let start = Instant::now().into_std();
        let now = |at: u64| Now {
            monotonic: start + Duration::from_secs(at),
            wall: Timestamp::UNIX_EPOCH + Duration::from_secs(at),
        };
        let known = |at: u64, count: usize| Some((count, now(at).wall));
        let several = |count| Some(News::Several(count));
        let tables: &[(&str, &[Step])] = &[
            (
                "one copy",
                &[(0, Some(1), None, None), (60, Some(1), None, None)],
            ),
            (
                "two that stay, then one",
                &[
                    (0, Some(2), None, None),
                    (59, Some(2), None, None),
                    (60, Some(2), several(2), known(60, 1)),
                    (120, Some(3), None, known(60, 2)),
                    (659, Some(2), None, known(60, 1)),
                    (660, Some(2), several(2), known(60, 1)),
                    (720, Some(1), Some(News::One), None),
                    (780, Some(1), None, None),
                ],
            ),
            (
                "two for a moment, again and again",
                &[
                    (0, Some(2), None, None),
                    (60, Some(1), None, None),
                    (120, Some(2), None, None),
                    (179, Some(1), None, None),
                    (180, Some(2), None, None),
                    (240, Some(2), several(2), known(240, 1)),
                ],
            ),
            (
                "no answers are neither copies nor none",
                &[
                    (0, None, None, None),
                    (60, None, None, None),
                    (120, Some(2), None, None),
                    (180, None, None, None),
                    (240, Some(2), several(2), known(240, 1)),
                    (539, None, None, known(240, 1)),
                    (540, None, None, None),
                    (600, Some(2), None, None),
                    (660, Some(2), several(2), known(660, 1)),
                ],
            ),
            (
                "a name without addresses is no second copy",
                &[(0, Some(2), None, None), (60, Some(0), None, None)],
            ),
        ];
        for (name, steps) in tables {
            let mut suspicion = Suspicion::default();
            for (at, addresses, news, others) in *steps {
                let said = suspicion.hear(*addresses, now(*at));
                assert_eq!((said, suspicion.others), (*news, *others), "{name} at {at}");
            }
        }
    }

    /// Answers that come one after the other; the last one is given for ever. `None`: there is none.
    struct Canned(Mutex<Vec<Option<&'static [&'static str]>>>);

    impl Names for Canned {
        fn addresses(&self, name: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
            assert_eq!(name, "app.process.scaler.internal");
            let mut answers = self.0.lock().expect("nobody panics with it");
            let answer = if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0]
            };
            Box::pin(async move {
                let found = answer.ok_or_else(|| io::Error::other("no such name"))?;
                let found = found.iter().map(|one| one.parse().expect("an address"));
                Ok(found.collect())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_is_counted_and_shown_until_it_is_over() {
        const TWO: &[&str] = &["fdaa::1", "fdaa::2", "fdaa::1"];
        let answers = vec![Some(TWO), None, Some(TWO), Some(&["fdaa::1"])];
        let clock = Clock::Simulated {
            epoch: Timestamp::UNIX_EPOCH,
            since: Instant::now(),
        };
        let metrics = Metrics::new();
        let peers = Peers::default();
        let watch = Watch {
            app: "scaler".to_owned(),
            name: "app.process.scaler.internal".to_owned(),
            names: Arc::new(Canned(Mutex::new(answers))),
            clock,
            metrics: metrics.clone(),
            peers: peers.clone(),
        };
        let task = tokio::spawn(watch.run());
        let shown = || {
            let mut text = String::new();
            metrics.write(&mut text);
            let line = text.lines().find(|line| line.starts_with("fas_peers "));
            (peers.others(), line.map(str::to_owned))
        };
        let none = (None, Some("fas_peers 0".to_owned()));
        for at in [1, 61] {
            sleep(Duration::from_secs(60)).await;
            assert_eq!(shown(), none, "{at}");
        }
        sleep(Duration::from_secs(1)).await;
        let others = Others {
            count: 1,
            since: Timestamp::UNIX_EPOCH + Duration::from_secs(120),
            app: "scaler".to_owned(),
        };
        assert_eq!(
            others.sentence(),
            "2 copies run without a lock, and each of them acts: what is missing is created 2 times."
        );
        assert_eq!(shown(), (Some(others), Some("fas_peers 1".to_owned())));
        sleep(LOOK_INTERVAL).await;
        assert_eq!(shown(), none);
        task.abort();
    }

    /// A name that is looked up for ever holds nobody up, and is none.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_waited_for_five_seconds() {
        struct Silent;
        impl Names for Silent {
            fn addresses(&self, _: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
                Box::pin(std::future::pending())
            }
        }
        let began = Instant::now();
        let answer = count(&Silent, "app.process.scaler.internal").await;
        assert_eq!(answer, Err("no answer within 5 s".to_owned()));
        assert_eq!(began.elapsed(), LOOKUP_LIMIT);
    }
}
