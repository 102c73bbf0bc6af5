//! The contest for shards, by tables and against a model of Consul under random trouble.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    account::Account,
    balance::{self, Loads},
    contest::{
        Answer, CALL_LIMIT, Call, Change, Confirmation, Contest, Entry, KeyView, Lane,
        LockIdentity, Loss, Term, WAIT_LIMIT,
    },
};
use crate::scaling::Now;

fn moment(began: Instant, at: u64) -> Now {
    Now {
        monotonic: began + Duration::from_millis(at),
        wall: Timestamp::UNIX_EPOCH + SignedDuration::from_millis(at.try_into().expect("small")),
    }
}

fn value(shards: Option<usize>) -> String {
    let account = Account {
        shards,
        ..Account::default()
    };
    account.text()
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a view is made of")]
fn entry(session: Option<&str>, lock: (u64, u64), shards: Option<usize>) -> Option<Entry> {
    Some(Entry {
        session: session.map(str::to_owned),
        lock: LockIdentity {
            created: lock.0,
            locked: lock.1,
        },
        value: value(shards),
    })
}

/// The common key is that of `common`, and each shard that of one of `holders`; an empty one is free.
fn view(index: u64, common: &str, holders: &[&str]) -> KeyView {
    let shards = (1_u64..).zip(holders).map(|(created, holder)| {
        let holder = Some(*holder).filter(|holder| !holder.is_empty());
        entry(holder, (created, 1), Some(holders.len()))
    });
    KeyView {
        index,
        entry: entry(
            Some(common).filter(|common| !common.is_empty()),
            (100, 1),
            Some(holders.len()),
        ),
        shards: shards.collect(),
    }
}

struct Copy {
    contest: Contest,
    began: Instant,
}

impl Copy {
    fn new(shards: usize) -> Self {
        let began = Instant::now();
        Self {
            contest: Contest::with_shards(shards, moment(began, 0)),
            began,
        }
    }

    fn now(&self, at: u64) -> Now {
        moment(self.began, at)
    }

    #[track_caller]
    fn expect(&mut self, lane: Lane, at: u64, call: &Call) {
        let now = self.now(at);
        assert_eq!(self.contest.begin(lane, now).as_ref(), Some(call));
    }

    #[track_caller]
    fn call(&mut self, lane: Lane, at: u64, call: &Call, answer: Answer) {
        self.expect(lane, at, call);
        let now = self.now(at);
        self.contest.ended(lane, answer, now);
    }

    fn held(&self, at: u64) -> Vec<usize> {
        let now = self.now(at);
        let is_held = |shard: &usize| {
            let held = self.contest.held_shard(*shard);
            held.is_some_and(|held| held.is_good(now))
        };
        (0..64).filter(is_held).collect()
    }

    /// A session `s`, with two other copies beside it, and the common key of `c`, which this copy has found and renewed.
    fn joined(shards: usize, holders: &[&str]) -> Self {
        let mut copy = Self::new(shards);
        copy.call(Lane::Session, 0, &Call::Register, Answer::Yes);
        copy.call(Lane::Session, 0, &Call::Open, Answer::Opened("s".into()));
        let others = ["s", "t", "u"].map(str::to_owned).to_vec();
        copy.call(Lane::Members, 0, &Call::Members, Answer::Members(others));
        let seen = Answer::Key(view(10, "c", holders));
        copy.call(Lane::Key, 0, &Call::Read, seen);
        // Others' renewals of the common session vouch for nothing here.
        let now = copy.now(0);
        assert_eq!(copy.contest.begin(Lane::Key, now), None);
        copy.call(Lane::Common, 0, &Call::Renew("c".into()), Answer::Yes);
        copy
    }

    /// Which shard is asked for next, which Consul gives, and that it did is seen.
    fn takes(&mut self, at: u64, holders: &mut [&'static str]) -> Option<usize> {
        let now = self.now(at);
        let call = self.contest.begin(Lane::Key, now)?;
        let Call::AcquireShard(shard, session) = call else {
            self.contest.dropped(Lane::Key);
            return None;
        };
        assert_eq!(session, "s");
        assert!(holders[shard].is_empty() || holders[shard] == "s");
        holders[shard] = "s";
        self.contest.ended(Lane::Key, Answer::Yes, now);
        let seen = Answer::Key(view(20 + at, "c", holders));
        self.call(Lane::Key, at + 100, &Call::Read, seen);
        Some(shard)
    }

    /// A copy of three that holds two of six shards, 0 and 1; their terms.
    fn holding() -> (Self, [Term; 2]) {
        let mut holders = ["s", "s", "t", "t", "u", "u"];
        let mut copy = Self::joined(6, &holders);
        for at in [100, 300] {
            assert!(copy.takes(at, &mut holders).is_some());
        }
        assert_eq!(copy.held(500), [0, 1]);
        copy.contest.take_changes();
        let term = |shard| copy.contest.held_shard(shard).expect("it holds it").term;
        let terms = [term(0), term(1)];
        (copy, terms)
    }
}

#[test]
fn an_app_belongs_to_the_shard_of_its_name_for_ever() {
    // Whoever changes this lets two versions of the program write to the same apps.
    let cases = [("", 5), ("a", 12), ("web", 1), ("customer-1", 7)];
    for (app, shard) in cases {
        assert_eq!(balance::shard_of(app, 16), shard, "{app}");
    }
    let mut counts = [0_u32; 16];
    for number in 0..20_000 {
        counts[balance::shard_of(&format!("customer-{number}"), 16)] += 1;
    }
    assert!(
        counts.iter().all(|count| (1_100..1_400).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn the_first_copy_opens_the_common_session_and_takes_the_key_with_it_before_any_shard() {
    let mut copy = Copy::new(4);
    copy.call(Lane::Session, 0, &Call::Register, Answer::Yes);
    copy.call(Lane::Session, 0, &Call::Open, Answer::Opened("s".into()));
    let alone = Answer::Members(vec!["s".into()]);
    copy.call(Lane::Members, 0, &Call::Members, alone);
    let mut nothing = view(5, "", &["", "", "", ""]);
    nothing.entry = None;
    copy.call(Lane::Key, 0, &Call::Read, Answer::Key(nothing));
    let opened = Answer::Opened("c".into());
    copy.call(Lane::Common, 0, &Call::OpenCommon, opened);
    copy.call(Lane::Key, 0, &Call::Acquire("c".into()), Answer::Yes);
    let mut holders = ["", "", "", ""];
    let seen = Answer::Key(view(6, "c", &holders));
    copy.call(Lane::Key, 100, &Call::Read, seen);
    for round in 0..4 {
        assert!(copy.takes(200 * (round + 1), &mut holders).is_some());
    }
    assert_eq!(copy.held(1_000), [0, 1, 2, 3]);
    assert_eq!(copy.takes(1_100, &mut holders), None);
    // Each renewal vouches for ten seconds, and both are needed.
    copy.call(Lane::Session, 4_000, &Call::Renew("s".into()), Answer::Yes);
    assert_eq!(copy.held(9_999), [0, 1, 2, 3]);
    assert_eq!(copy.held(10_000), [0_usize; 0]);
}

#[test]
fn no_shard_is_taken_or_held_while_copies_with_another_number_hold_the_common_key() {
    for other in [None, Some(1), Some(8)] {
        let mut copy = Copy::new(4);
        copy.call(Lane::Session, 0, &Call::Register, Answer::Yes);
        copy.call(Lane::Session, 0, &Call::Open, Answer::Opened("s".into()));
        let alone = Answer::Members(vec!["s".into()]);
        copy.call(Lane::Members, 0, &Call::Members, alone);
        let mut theirs = view(5, "", &["", "", "", ""]);
        theirs.entry = entry(Some("x"), (100, 1), other);
        copy.call(Lane::Key, 0, &Call::Read, Answer::Key(theirs));
        let behind = Change::Behind(value(other));
        assert_eq!(copy.contest.take_changes(), [behind]);
        copy.expect(Lane::Key, 100, &Call::Await(5));
        let now = copy.now(100);
        assert_eq!(copy.contest.begin(Lane::Common, now), None, "{other:?}");
    }
    // Those that come when it is held lose everything.
    let (mut copy, _) = Copy::holding();
    let mut theirs = view(90, "", &["s", "s", "t", "t", "u", "u"]);
    theirs.entry = entry(Some("x"), (100, 2), Some(8));
    copy.call(Lane::Key, 600, &Call::Await(320), Answer::Key(theirs));
    assert_eq!(copy.held(600), [0_usize; 0]);
}

#[test]
fn a_common_key_that_was_anothers_in_between_or_whose_session_is_over_ends_everything() {
    let holders = ["s", "s", "t", "t", "u", "u"];
    let (mut copy, _) = Copy::holding();
    let mut seen = view(90, "c", &holders);
    seen.entry = entry(Some("c"), (100, 3), Some(6));
    copy.call(Lane::Key, 600, &Call::Await(320), Answer::Key(seen));
    assert_eq!(copy.held(600), [0_usize; 0]);
    let lost = |shard| Change::LostShard(shard, Loss::Taken);
    assert_eq!(copy.contest.take_changes(), [lost(0), lost(1)]);

    let (mut copy, _) = Copy::holding();
    copy.call(Lane::Common, 4_000, &Call::Renew("c".into()), Answer::Gone);
    assert_eq!(copy.held(4_000), [0_usize; 0]);
    let lost = |shard| Change::LostShard(shard, Loss::SessionOver);
    assert_eq!(copy.contest.take_changes(), [lost(0), lost(1)]);
}

#[test]
fn a_shard_that_is_lost_leaves_the_others() {
    let cases = [
        ("deleted", None),
        ("another's", entry(Some("t"), (1, 2), Some(6))),
        ("overwritten", entry(Some("s"), (1, 0), Some(6))),
        ("made anew", entry(Some("s"), (50, 1), Some(6))),
    ];
    for (name, now_there) in cases {
        let (mut copy, _) = Copy::holding();
        let mut seen = view(90, "c", &["s", "s", "t", "t", "u", "u"]);
        seen.shards[0] = now_there;
        copy.call(Lane::Key, 600, &Call::Await(320), Answer::Key(seen));
        assert_eq!(copy.held(600), [1], "{name}");
        let lost = Change::LostShard(0, Loss::Taken);
        assert_eq!(copy.contest.take_changes(), [lost], "{name}");
    }
    let (mut copy, _) = Copy::holding();
    copy.call(Lane::Session, 4_000, &Call::Renew("s".into()), Answer::Gone);
    assert_eq!(copy.held(4_000), [0_usize; 0]);
}

#[test]
fn a_confirmation_renews_both_sessions_and_tells_of_each_shard_by_itself() {
    let holders = ["s", "s", "t", "t", "u", "u"];
    let (mut copy, terms) = Copy::holding();
    let now = copy.now(1_000);
    let number = copy.contest.ask_for(0, now).expect("it holds it");
    assert_eq!(copy.contest.ask_for(2, now), None, "another's");
    copy.call(
        Lane::Confirmation,
        1_000,
        &Call::Renew("s".into()),
        Answer::Yes,
    );
    copy.call(
        Lane::Confirmation,
        1_100,
        &Call::Renew("c".into()),
        Answer::Yes,
    );
    assert_eq!(
        copy.contest.confirmation_of(0, number),
        Confirmation::Pending
    );
    let mut seen = view(90, "c", &holders);
    seen.shards[1] = entry(Some("t"), (2, 2), Some(6));
    copy.call(Lane::Confirmation, 1_200, &Call::Read, Answer::Key(seen));
    let told = |shard| copy.contest.confirmation_of(shard, number);
    assert_eq!(told(0), Confirmation::Held(terms[0]));
    assert_eq!(told(1), Confirmation::Unconfirmed);
    assert_eq!(copy.held(1_200), [0]);

    // The common key is another's: nothing is confirmed.
    for (step, answer) in [
        (Call::Renew("s".into()), Answer::Failed),
        (Call::Renew("c".into()), Answer::Failed),
        (Call::Renew("c".into()), Answer::Gone),
        (Call::Read, Answer::Failed),
        (Call::Read, Answer::Key(view(90, "x", &holders))),
    ] {
        let (mut copy, _) = Copy::holding();
        let now = copy.now(1_000);
        let number = copy.contest.ask_for(0, now).expect("it holds it");
        for call in [Call::Renew("s".into()), Call::Renew("c".into()), Call::Read] {
            let is_last = call == step;
            let told = if is_last { answer.clone() } else { Answer::Yes };
            copy.call(Lane::Confirmation, 1_000, &call, told);
            if is_last {
                break;
            }
        }
        let told = copy.contest.confirmation_of(0, number);
        assert_eq!(told, Confirmation::Unconfirmed, "{step:?} {answer:?}");
    }
}

#[test]
fn a_look_tells_nothing_of_a_shard_that_was_taken_after_it_began() {
    let mut holders = ["", "", "t", "t", "u", "u"];
    let mut copy = Copy::joined(6, &holders);
    let first = copy.takes(100, &mut holders).expect("it takes one");
    let before = holders;
    let now = copy.now(300);
    let number = copy.contest.ask_for(first, now).expect("it holds it");
    for id in ["s", "c"] {
        copy.call(
            Lane::Confirmation,
            300,
            &Call::Renew(id.into()),
            Answer::Yes,
        );
    }
    copy.expect(Lane::Confirmation, 300, &Call::Read);
    assert!(copy.takes(400, &mut holders).is_some());
    assert_eq!(copy.held(500), [0, 1]);
    copy.contest.take_changes();
    let seen = Answer::Key(view(20, "c", &before));
    let now = copy.now(600);
    copy.contest.ended(Lane::Confirmation, seen, now);
    let told = copy.contest.confirmation_of(first, number);
    assert!(matches!(told, Confirmation::Held(_)));
    assert_eq!(copy.contest.take_changes(), []);
    assert_eq!(copy.held(600), [0, 1]);
}

#[test]
fn who_has_the_fewest_takes_at_once_and_the_others_leave_it_time() {
    // Whose the shards are, and after how many milliseconds the free one is taken.
    let cases: [(&[&'static str], u64); 4] = [
        (&["", "t", "u"], 0),
        (&["s", "", "t", "u", "t", "u"], 0),
        (&["s", "", "t", "t", "t", "u", "u"], 0),
        (&["s", "s", "", "t", "t", "u"], 60_000),
    ];
    for (holders, patience) in cases {
        let members = ["s", "t", "u"].map(str::to_owned);
        let loads = Loads::of(&view(1, "c", holders), "s", &members);
        assert_eq!(
            loads.patience(),
            Duration::from_millis(patience),
            "{holders:?}"
        );
    }
    let members = ["s", "t", "u"].map(str::to_owned);
    let loads = Loads::of(&view(1, "c", &["s", "", "t", "t"]), "s", &members);
    assert_eq!(loads.patience(), Duration::from_secs(3));
}

impl Copy {
    /// Renews both sessions every four seconds from one moment to another.
    fn renew(&mut self, from: u64, until: u64) {
        for at in (from..=until).step_by(4_000) {
            self.call(Lane::Session, at, &Call::Renew("s".into()), Answer::Yes);
            self.call(Lane::Common, at, &Call::Renew("c".into()), Answer::Yes);
        }
    }

    /// A copy of three with three of six shards, which is about to give one back since some moment before 14 s; which one.
    fn giving() -> (Self, usize) {
        let mut holders = ["s", "s", "s", "t", "t", "u"];
        let mut copy = Self::joined(6, &holders);
        for at in [100, 300, 500] {
            assert!(copy.takes(at, &mut holders).is_some());
        }
        assert_eq!(copy.held(700), [0, 1, 2]);
        copy.contest.take_changes();
        let now = copy.now(3_000);
        copy.contest.look(now);
        copy.renew(4_000, 8_000);
        let now = copy.now(14_000);
        copy.contest.look(now);
        let shard = copy.contest.giving().expect("it gives one back");
        assert_eq!(copy.contest.take_changes(), [Change::Gives(shard)]);
        (copy, shard)
    }
}

#[test]
fn a_copy_that_has_two_more_than_another_gives_one_back_when_all_of_it_is_seen() {
    let (mut copy, shard) = Copy::giving();
    let now = copy.now(14_000);
    assert_eq!(copy.held(14_000).len(), 2, "nothing is begun in it");
    assert_eq!(copy.contest.ask_for(shard, now), None);
    let call = copy.contest.begin(Lane::Key, now);
    assert!(
        !matches!(call, Some(Call::ReleaseShard(..))),
        "not before it is quiet"
    );
    copy.contest.is_quiet(shard);
    assert!(copy.contest.waits_in_vain(now));
    copy.contest.dropped(Lane::Key);
    let release = Call::ReleaseShard(shard, "s".into());
    copy.call(Lane::Key, 14_000, &release, Answer::Yes);
    assert_eq!(copy.contest.giving(), None);
    // Not two in a minute, whatever is seen.
    let seen = view(400, "c", &["s", "s", "s", "s", "t", "u"]);
    copy.call(Lane::Key, 14_000, &Call::Read, Answer::Key(seen));
    for at in (16_000..72_000).step_by(4_000) {
        copy.renew(at, at);
        assert_eq!(copy.contest.giving(), None, "{at}");
    }
}

#[test]
fn a_shard_is_kept_where_the_copy_that_was_to_have_it_needs_it_no_more() {
    let (mut copy, shard) = Copy::giving();
    copy.renew(14_000, 30_000);
    let members = ["s", "t"].map(str::to_owned).to_vec();
    copy.call(
        Lane::Members,
        30_000,
        &Call::Members,
        Answer::Members(members),
    );
    let now = copy.now(30_000);
    let call = copy.contest.begin(Lane::Key, now);
    assert!(matches!(call, Some(Call::Await(_))), "{call:?}");
    let even = view(400, "c", &["s", "s", "s", "t", "t", "t"]);
    copy.contest.ended(Lane::Key, Answer::Key(even), now);
    copy.contest.look(now);
    assert_eq!(copy.contest.take_changes(), [Change::NeedNotGive(shard)]);
    assert_eq!(copy.held(30_000), [0, 1, 2]);
}

#[test]
fn a_shard_is_given_back_although_waiting_for_a_change_always_fails() {
    let mut holders = ["s", "s", "s", "t", "t", "u"];
    let mut copy = Copy::joined(6, &holders);
    for at in [100, 300, 500] {
        assert!(copy.takes(at, &mut holders).is_some());
    }
    let mut began = None;
    for at in (1_000..28_000).step_by(100) {
        if at % 4_000 == 0 {
            copy.renew(at, at);
        }
        let now = copy.now(at);
        if copy.contest.begin(Lane::Members, now).is_some() {
            let members = ["s", "t", "u"].map(str::to_owned).to_vec();
            let members = Answer::Members(members);
            copy.contest.ended(Lane::Members, members, now);
        }
        let answer = match copy.contest.begin(Lane::Key, now) {
            Some(Call::Await(_)) => Answer::Failed,
            Some(Call::Read) => Answer::Key(view(20 + at, "c", &holders)),
            other => {
                assert_eq!(other, None, "{at}");
                // What is not known at the moment is nothing to wake for.
                let wake = copy.contest.wake(now).expect("it renews");
                assert!(wake > now.monotonic, "{at}");
                continue;
            }
        };
        copy.contest.ended(Lane::Key, answer, now);
        began = began.or(copy.contest.giving().map(|_| at));
    }
    let began = began.expect("it gives one back");
    assert!(began < 20_000, "{began}");
}

impl Copy {
    /// All that is due is answered so.
    fn each_due(&mut self, at: u64, mut answer: impl FnMut(Call) -> Answer) {
        let now = self.now(at);
        for lane in Lane::ALL {
            if let Some(call) = self.contest.begin(lane, now) {
                self.contest.ended(lane, answer(call), now);
            }
        }
    }

    /// The same, as Consul does where it gives what it is asked for.
    fn answer(&mut self, at: u64, holders: &mut [&'static str], members: &[&str]) {
        let now = self.now(at);
        for lane in [Lane::Session, Lane::Common, Lane::Members] {
            if let Some(call) = self.contest.begin(lane, now) {
                let answer = match call {
                    Call::Members => {
                        let members = members.iter().map(|member| (*member).to_owned());
                        Answer::Members(members.collect())
                    }
                    _ => Answer::Yes,
                };
                self.contest.ended(lane, answer, now);
            }
        }
        if self.contest.waits_in_vain(now) {
            self.contest.dropped(Lane::Key);
        }
        let answer = match self.contest.begin(Lane::Key, now) {
            Some(Call::AcquireShard(shard, _)) => {
                holders[shard] = "s";
                Answer::Yes
            }
            Some(Call::Read | Call::Await(_)) => Answer::Key(view(20 + at, "c", holders)),
            None => return,
            other => panic!("at {at} {other:?}"),
        };
        self.contest.ended(Lane::Key, answer, now);
    }

    /// The same until it is about to give a shard back, or is so no longer; when that is.
    fn until_it_gives(
        &mut self,
        gives: bool,
        mut at: u64,
        holders: &mut [&'static str],
        members: &[&str],
    ) -> u64 {
        while self.contest.giving().is_some() != gives {
            at += 100;
            self.answer(at, holders, members);
        }
        at
    }
}

#[test]
fn what_is_given_back_and_comes_back_is_given_back_later_and_later() {
    let (mut copy, shard) = Copy::giving();
    let mut at = 14_000;
    let mut apart = Vec::new();
    let mut holders = ["s", "s", "s", "t", "t", "u"];
    let mut members = ["s", "t", "u"];
    while apart.len() < 9 {
        copy.contest.is_quiet(shard);
        copy.contest.dropped(Lane::Key);
        let release = Call::ReleaseShard(shard, "s".into());
        copy.call(Lane::Key, at, &release, Answer::Yes);
        let given_at = at;
        holders[shard] = "";
        // Nobody takes it, and after its courtesy this copy has it again. The last time there is one that may.
        if apart.len() == 8 {
            members = ["s", "t", "v"];
        }
        at = copy.until_it_gives(true, at, &mut holders, &members);
        assert_eq!(copy.contest.giving(), Some(shard));
        copy.contest.take_changes();
        apart.push((at - given_at) / 60_000);
    }
    assert_eq!(apart, [1, 2, 4, 8, 16, 30, 30, 30, 1]);
}

#[test]
fn what_was_kept_is_to_be_given_back_last_and_later_and_later() {
    let (mut copy, shard) = Copy::giving();
    let mut holders = ["s", "s", "s", "t", "t", "u"];
    let members = ["s", "t", "u"];
    let (mut at, mut tried, mut apart) = (14_000, vec![shard], Vec::new());
    while apart.len() < 4 {
        at = copy.until_it_gives(false, at, &mut holders, &members);
        let kept_at = at;
        at = copy.until_it_gives(true, at, &mut holders, &members);
        apart.push((at - kept_at) / 60_000);
        tried.extend(copy.contest.giving());
    }
    assert_eq!(apart, [1, 2, 4, 8]);
    assert_eq!(tried[..2], tried[3..], "the first again after all of them");
    let all: BTreeSet<&usize> = tried.iter().collect();
    assert_eq!(all.len(), 3, "{tried:?}");
}

#[test]
fn a_copy_that_can_read_no_key_or_take_nothing_stays_away_for_longer_and_longer() {
    for is_seen in [false, true] {
        let mut copy = Copy::new(3);
        let mut opened = Vec::new();
        for at in (0..1_600_000).step_by(100) {
            copy.each_due(at, |call| match call {
                Call::Open => {
                    opened.push(at);
                    Answer::Opened("s".into())
                }
                Call::Register | Call::Renew(_) => Answer::Yes,
                Call::Members => Answer::Members(vec!["s".into(), "t".into()]),
                Call::Read if is_seen => Answer::Key(view(20 + at, "c", &["s", "t", "t"])),
                _ => Answer::Failed,
            });
        }
        let apart: Vec<u64> = opened.windows(2).map(|two| two[1] - two[0]).collect();
        let vain = 60_000;
        let expected = [60_000, 120_000, 240_000, 300_000, 300_000].map(|apart| apart + vain);
        assert_eq!(apart, expected, "{is_seen}");
    }
}

#[test]
fn a_copy_that_stood_still_comes_back_at_once() {
    let (mut copy, _) = Copy::holding();
    copy.expect(Lane::Session, 90_000, &Call::Open);
}

#[test]
fn a_common_session_that_is_refused_for_longer_than_it_can_live_is_followed_by_another() {
    let (mut copy, _) = Copy::holding();
    let free = Answer::Key(view(400, "", &["s", "s", "t", "t", "u", "u"]));
    for at in (4_000..=36_000).step_by(4_000) {
        copy.call(Lane::Session, at, &Call::Renew("s".into()), Answer::Yes);
        copy.call(Lane::Common, at, &Call::Renew("c".into()), Answer::Failed);
    }
    copy.contest.dropped(Lane::Key);
    copy.call(Lane::Key, 36_000, &Call::Read, free);
    copy.expect(Lane::Common, 37_000, &Call::OpenCommon);
}

#[test]
fn a_shard_in_which_something_is_never_settled_is_kept_after_two_minutes() {
    let (mut copy, shard) = Copy::giving();
    let mut at = 16_000;
    while copy.contest.giving().is_some() {
        copy.renew(at, at);
        if at % 40_000 == 0 {
            // Keys that nobody has looked at for a minute are given up.
            let now = copy.now(at);
            if copy.contest.begin(Lane::Key, now).is_some() {
                let seen = view(400, "c", &["s", "s", "s", "t", "t", "u"]);
                copy.contest.ended(Lane::Key, Answer::Key(seen), now);
            }
        }
        at += 4_000;
        assert!(at < 144_000, "it is kept");
    }
    assert!(at > 120_000, "{at}");
    assert_eq!(copy.contest.take_changes(), [Change::Keeps(shard)]);
    assert_eq!(copy.held(at).len(), 3, "its apps are scaled again");
}

#[test]
fn giving_back_that_is_not_answered_is_said_again_and_the_shard_not_taken_for_long() {
    let (mut copy, shard) = Copy::giving();
    let release = || Call::ReleaseShard(shard, "s".into());
    copy.contest.is_quiet(shard);
    copy.call(Lane::Key, 14_000, &release(), Answer::Failed);
    assert_eq!(copy.held(14_000).len(), 2);
    let still = Answer::Key(view(400, "c", &["s", "s", "s", "t", "t", "u"]));
    copy.call(Lane::Key, 15_000, &Call::Read, still.clone());
    copy.renew(16_000, 16_000);
    copy.call(Lane::Key, 16_000, &release(), Answer::Failed);
    copy.call(Lane::Key, 17_000, &Call::Read, still);
    copy.renew(20_000, 20_000);
    copy.call(Lane::Key, 20_000, &release(), Answer::Yes);
    // What was sent first may be done at any time: it would end a hold that began in between.
    let mut holders = ["s", "s", "s", "t", "t", "u"];
    holders[shard] = "";
    holders[5] = "t";
    let free = Answer::Key(view(410, "c", &holders));
    copy.call(Lane::Key, 20_100, &Call::Read, free);
    copy.renew(24_000, 60_000);
    // Of two copies it has the fewest, so that it would take it at once.
    let members = ["s", "t"].map(str::to_owned).to_vec();
    let members = Answer::Members(members);
    copy.call(Lane::Members, 60_000, &Call::Members, members);
    // It was last tried at 16 s.
    let now = copy.now(60_999);
    assert_eq!(copy.contest.begin(Lane::Key, now), None);
    copy.expect(Lane::Key, 61_000, &Call::AcquireShard(shard, "s".into()));
}

/// One whose passes see nothing since 1 s, and that gives its shards up for it at 121 s.
fn blind() -> Copy {
    let (mut copy, _) = Copy::holding();
    copy.contest.passed(false, copy.now(1_000));
    copy.contest.take_changes();
    let mut at = 4_000;
    while at < 121_000 {
        copy.renew(at, at);
        if at % 40_000 == 0 {
            let now = copy.now(at);
            if copy.contest.begin(Lane::Key, now).is_some() || copy.contest.view().is_some() {
                let seen = view(400, "c", &["s", "s", "t", "t", "u", "u"]);
                copy.contest.ended(Lane::Key, Answer::Key(seen), now);
            }
        }
        at += 4_000;
    }
    copy.contest.look(copy.now(121_000));
    copy
}

#[test]
fn a_copy_whose_passes_see_nothing_is_none_that_shards_are_left_to() {
    let mut copy = blind();
    let lost = |shard| Change::LostShard(shard, Loss::Blind);
    assert_eq!(copy.contest.take_changes(), [lost(0), lost(1)]);
    let open = |copy: &mut Copy, at| {
        let now = copy.now(at);
        copy.contest.begin(Lane::Session, now)
    };
    assert_eq!(open(&mut copy, 420_999), None);
    assert_eq!(open(&mut copy, 421_000), Some(Call::Open));
}

#[test]
fn a_copy_that_has_lost_its_shards_competes_whatever_its_last_passes_saw() {
    // Nothing says later that it sees again: with its shards it has lost its apps, and with these its passes.
    let (mut copy, _) = Copy::holding();
    copy.contest.passed(false, copy.now(1_000));
    copy.renew(4_000, 8_000);
    copy.contest.take_changes();
    let lost = |shard| Change::LostShard(shard, Loss::NotRenewed);
    copy.contest.look(copy.now(20_000));
    assert_eq!(copy.contest.take_changes(), [lost(0), lost(1)]);
    // One that was under way ends.
    copy.contest.passed(false, copy.now(21_000));
    assert!(!copy.contest.rests(copy.now(22_000)));
    copy.contest.look(copy.now(80_000));
    assert!(!copy.contest.rests(copy.now(3_600_000)));
}

#[test]
fn a_copy_that_has_its_shards_again_soon_has_still_seen_nothing() {
    // How long it had none, and whether it gives them up two minutes after it saw the machines last.
    for (gap, is_blind) in [(20_000, true), (70_000, false)] {
        let mut copy = Copy::holding().0;
        copy.contest.passed(false, copy.now(1_000));
        copy.renew(4_000, 8_000);
        copy.call(
            Lane::Session,
            12_000,
            &Call::Renew("s".into()),
            Answer::Gone,
        );
        assert!(copy.held(12_000).is_empty());
        copy.contest.dropped(Lane::Key);
        copy.contest.look(copy.now(12_100));
        let at = 12_100 + gap;
        copy.contest.look(copy.now(at - 100));
        let taken = Answer::Key(view(400, "c", &["", "t", "t", "t", "u", "u"]));
        let opened = Answer::Opened("s".into());
        copy.call(Lane::Session, at, &Call::Open, opened);
        copy.call(Lane::Key, at, &Call::Read, taken);
        copy.call(Lane::Common, at, &Call::Renew("c".into()), Answer::Yes);
        let mut holders = ["", "t", "t", "t", "u", "u"];
        assert_eq!(copy.takes(at + 100, &mut holders), Some(0));
        assert_eq!(copy.held(at + 200), [0]);
        copy.contest.take_changes();
        copy.contest.passed(false, copy.now(at + 2_000));
        let mut last = at + 4_000;
        while last < 121_000 {
            copy.renew(last, last);
            let now = copy.now(last);
            if copy.contest.begin(Lane::Key, now).is_some() {
                let seen = view(500, "c", &["s", "t", "t", "t", "u", "u"]);
                copy.contest.ended(Lane::Key, Answer::Key(seen), now);
            }
            last += 4_000;
        }
        copy.contest.look(copy.now(121_000));
        assert_eq!(copy.held(121_000).is_empty(), is_blind, "{gap}");
    }
}

#[test]
fn a_blind_copy_gives_up_the_shards_that_are_only_kept_from_others() {
    let (mut copy, _) = Copy::holding();
    copy.contest.passed(false, copy.now(1_000));
    let seen = || Answer::Key(view(400, "c", &["s", "s", "t", "t", "u", "u"]));
    for at in (4_000..=104_000).step_by(4_000) {
        copy.renew(at, at);
        let now = copy.now(at);
        if copy.contest.begin(Lane::Key, now).is_some() || at % 40_000 == 0 {
            copy.contest.ended(Lane::Key, seen(), now);
        }
    }
    let now = copy.now(115_000);
    copy.contest.look(now);
    assert!(copy.held(115_000).is_empty());
    copy.contest.take_changes();
    copy.contest.dropped(Lane::Key);
    copy.call(Lane::Key, 115_000, &Call::Read, seen());
    copy.contest.look(copy.now(120_999));
    assert_eq!(copy.contest.take_changes(), []);
    copy.contest.look(copy.now(121_000));
    let left = [Change::Left(Loss::Blind)];
    assert_eq!(copy.contest.take_changes(), left);
    assert!(copy.contest.rests(copy.now(420_999)));
}

#[test]
fn a_pass_that_ends_after_the_shards_were_given_up_does_not_lengthen_the_rest() {
    let mut copy = blind();
    copy.contest.passed(false, copy.now(122_000));
    copy.contest.look(copy.now(182_000));
    assert!(copy.contest.rests(copy.now(420_999)));
    assert!(!copy.contest.rests(copy.now(421_000)));
    assert!(!copy.contest.rests(copy.now(900_000)));
}

impl Copy {
    /// The keys stay as they are, and whatever shard is asked for, asking fails. Which ones were asked for.
    fn asks_in_vain(&mut self, from: u64, until: u64, holders: &[&str]) -> Vec<usize> {
        let mut tried = Vec::new();
        for at in (from..until).step_by(100) {
            if at % 4_000 == 0 {
                self.renew(at, at);
            }
            let now = self.now(at);
            if self.contest.waits_in_vain(now) {
                self.contest.dropped(Lane::Key);
            }
            let answer = match self.contest.begin(Lane::Key, now) {
                Some(Call::AcquireShard(shard, _)) => {
                    tried.push(shard);
                    Answer::Failed
                }
                Some(Call::Read) => Answer::Key(view(20 + at, "c", holders)),
                Some(Call::Await(_)) | None => continue,
                other => panic!("at {at} {other:?}"),
            };
            self.contest.ended(Lane::Key, answer, now);
        }
        tried
    }
}

/// A copy that left its session to end at `left_at` because it could not take what was its own opens another one only a minute
/// later.
#[track_caller]
fn stays_apart(copy: &mut Copy, left_at: u64) {
    for at in [left_at, left_at + 59_999] {
        let now = copy.now(at);
        assert_eq!(copy.contest.begin(Lane::Session, now), None, "{at}");
    }
    copy.expect(Lane::Session, left_at + 60_000, &Call::Open);
}

#[test]
fn a_shard_that_cannot_be_taken_though_it_is_this_copys_is_left_to_others() {
    let holders = ["s", "t", "u"];
    let mut copy = Copy::joined(3, &holders);
    let tried = copy.asks_in_vain(100, 60_000, &holders);
    assert!(tried.len() > 10, "{tried:?}");
    assert!(tried.iter().all(|shard| *shard == 0), "{tried:?}");
    stays_apart(&mut copy, 60_000);
    let left = [Change::Left(Loss::InVain)];
    assert_eq!(copy.contest.take_changes(), left);
}

#[test]
fn a_copy_of_no_shard_that_fails_to_take_a_free_one_leaves_its_place() {
    let holders = ["", "t", "u"];
    let mut copy = Copy::joined(3, &holders);
    let tried = copy.asks_in_vain(100, 60_000, &holders);
    assert!(tried.len() > 10, "{tried:?}");
    assert!(copy.contest.renewed().is_some());
    copy.asks_in_vain(60_100, 62_000, &holders);
    assert!(copy.contest.renewed().is_none());
    let left = [Change::Left(Loss::InVain)];
    assert_eq!(copy.contest.take_changes(), left);
}

#[test]
fn a_copy_that_once_failed_to_take_what_another_has_by_now_keeps_its_place() {
    let mut copy = Copy::joined(3, &["", "t", "u"]);
    let acquire = Call::AcquireShard(0, "s".into());
    copy.call(Lane::Key, 100, &acquire, Answer::Failed);
    let mut holders = ["t", "t", "u"];
    for at in (1_200..130_000).step_by(100) {
        copy.answer(at, &mut holders, &["s", "t", "u"]);
        assert!(copy.contest.renewed().is_some(), "{at}");
    }
    assert_eq!(copy.contest.take_changes(), [Change::Idle]);
}

#[test]
fn a_copy_of_no_shard_leaves_its_place_where_what_taking_one_needs_fails() {
    for lists in [false, true] {
        let mut copy = Copy::joined(3, &["t", "t", "u"]);
        let left = (100..120_000).step_by(100).find(|at| {
            copy.each_due(*at, |call| match call {
                Call::Renew(id) if id == "s" => Answer::Yes,
                Call::Renew(_) if !lists => Answer::Yes,
                Call::Members if lists => Answer::Members(vec!["s".into(), "t".into(), "u".into()]),
                Call::Read | Call::Await(_) => Answer::Key(view(20 + at, "c", &["t", "t", "u"])),
                _ => Answer::Failed,
            });
            copy.contest.renewed().is_none()
        });
        let now = copy.now(left.expect("it leaves"));
        assert_eq!(copy.contest.stays_away(now), Some(Loss::InVain), "{lists}");
    }
}

#[test]
fn a_shard_that_cannot_be_taken_for_five_minutes_costs_those_that_are_held() {
    let holders = ["s", "s", "s", "t", "t", "u", "u"];
    let mut copy = Copy::joined(7, &holders);
    let mut taken = holders;
    for at in [100, 300] {
        assert!(copy.takes(at, &mut taken).is_some());
    }
    copy.contest.take_changes();
    copy.asks_in_vain(600, 300_000, &holders);
    assert_eq!(copy.held(299_900).len(), 2);
    assert_eq!(copy.contest.take_changes(), []);
    copy.contest.look(copy.now(301_000));
    let lost = copy.contest.take_changes();
    let is_in_vain = |change: &Change| matches!(change, Change::LostShard(_, Loss::InVain));
    assert!(lost.len() == 2 && lost.iter().all(is_in_vain), "{lost:?}");
}

#[test]
fn a_shard_that_cannot_be_taken_costs_those_that_are_held_nothing() {
    let holders = ["s", "s", "s", "t", "t", "u", "u"];
    let mut copy = Copy::joined(7, &holders);
    let mut taken = holders;
    for at in [100, 300] {
        assert!(copy.takes(at, &mut taken).is_some());
    }
    let held = copy.held(500);
    assert_eq!(held.len(), 2);
    copy.asks_in_vain(600, 130_000, &holders);
    assert_eq!(copy.held(129_900), held);
    // Nor does a hiccup later, which costs them for a moment, end the session.
    copy.contest.look(copy.now(141_000));
    assert!(copy.held(141_000).is_empty());
    copy.renew(142_000, 142_000);
    copy.contest.dropped(Lane::Key);
    let seen = Answer::Key(view(142_000, "c", &holders));
    copy.call(Lane::Key, 142_000, &Call::Read, seen);
    for at in [142_100, 142_300] {
        assert!(copy.takes(at, &mut taken).is_some());
    }
    assert_eq!(copy.held(142_500).len(), 2);
}

#[test]
fn shards_that_are_this_copys_are_left_to_others_where_it_cannot_renew_what_all_hold() {
    let (mut copy, _) = Copy::holding();
    for at in (4_000..70_000).step_by(2_000) {
        copy.each_due(at, |call| match call {
            Call::Renew(id) if id == "s" => Answer::Yes,
            Call::Members => Answer::Members(vec!["s".into(), "t".into(), "u".into()]),
            Call::Read | Call::Await(_) => {
                Answer::Key(view(400, "c", &["s", "s", "t", "t", "u", "u"]))
            }
            _ => Answer::Failed,
        });
    }
    assert!(copy.held(69_000).is_empty());
    copy.contest.take_changes();
    stays_apart(&mut copy, 70_000);
    let left = [Change::Left(Loss::InVain)];
    assert_eq!(copy.contest.take_changes(), left);
}

#[test]
fn who_leaves_gives_back_what_is_clean_and_nothing_of_what_all_hold() {
    let (mut copy, _) = Copy::holding();
    let calls = copy.contest.leave_by(|shard| shard == 1);
    let expected = [Call::ReleaseShard(1, "s".into()), Call::Destroy("s".into())];
    assert_eq!(calls, expected);
    let (mut copy, _) = Copy::holding();
    assert_eq!(copy.contest.leave_by(|_| true).len(), 3);
}

mod random {
    //! Copies that are killed, end, freeze and are cut off, some of them with another number of shards.

    use super::{
        super::tests::{Chance, each_seed},
        *,
    };

    const STEP: u64 = 100;
    const CALM: u64 = 300_000;
    /// Consul's times, those for which a copy stays apart, and a minute for each shard that may have to change hands.
    const END: u64 = CALM + 60_000 + 300_000 + 240_000;

    #[derive(Default)]
    struct Key {
        session: Option<String>,
        lock: (u64, u64),
        value: String,
    }

    #[derive(Default)]
    struct Consul {
        /// When each expires, and of which number of shards whose member it is.
        sessions: BTreeMap<String, (u64, Option<usize>)>,
        opened: u64,
        index: u64,
        /// The common key, and those of shards by their number and place.
        keys: BTreeMap<Option<(usize, usize)>, Key>,
        delays: BTreeMap<Option<(usize, usize)>, u64>,
        away_until: u64,
    }

    impl Consul {
        fn open(&mut self, member: Option<usize>, at: u64, chance: &mut Chance) -> Answer {
            self.opened += 1;
            let id = format!("session {}", self.opened);
            let life = 15_000 + chance.below(15_000);
            self.sessions.insert(id.clone(), (at + life, member));
            Answer::Opened(id)
        }

        fn end(&mut self, id: &str, at: u64) {
            self.sessions.remove(id);
            for (name, key) in &mut self.keys {
                if key.session.as_deref() == Some(id) {
                    key.session = None;
                    self.index += 1;
                    self.delays.insert(*name, at + 15_000);
                }
            }
        }

        fn step(&mut self, at: u64) {
            let over = self
                .sessions
                .iter()
                .find(|(_, (expires, _))| *expires <= at);
            if let Some(id) = over.map(|(id, _)| id.clone()) {
                self.end(&id, at);
            }
        }

        fn acquire(
            &mut self,
            name: Option<(usize, usize)>,
            id: &str,
            value: String,
            at: u64,
        ) -> Answer {
            if !self.sessions.contains_key(id) {
                return Answer::Gone;
            }
            let is_delayed = self.delays.get(&name).is_some_and(|until| at < *until);
            let index = self.index + 1;
            let key = self.keys.entry(name).or_insert_with(|| Key {
                lock: (index, 0),
                ..Key::default()
            });
            match &key.session {
                Some(holder) if holder == id => return Answer::Yes,
                Some(_) => return Answer::No,
                None if is_delayed => return Answer::No,
                None => {}
            }
            key.session = Some(id.to_owned());
            key.lock.1 += 1;
            key.value = value;
            self.index = index;
            Answer::Yes
        }

        fn view(&self, shards: usize) -> KeyView {
            let entry = |name| {
                let key = self.keys.get(&name)?;
                Some(Entry {
                    session: key.session.clone(),
                    lock: LockIdentity {
                        created: key.lock.0,
                        locked: key.lock.1,
                    },
                    value: key.value.clone(),
                })
            };
            let count = if shards == 1 { 0 } else { shards };
            KeyView {
                index: self.index,
                entry: entry(None),
                shards: (0..count)
                    .map(|place| entry(Some((shards, place))))
                    .collect(),
            }
        }

        fn take(
            &mut self,
            (call, shards): (&Call, usize),
            waited: u64,
            at: u64,
            chance: &mut Chance,
        ) -> Option<Answer> {
            if at < self.away_until {
                return Some(Answer::Failed);
            }
            Some(match call {
                Call::Register => Answer::Yes,
                Call::Open => self.open(Some(shards), at, chance),
                Call::OpenCommon => self.open(None, at, chance),
                Call::Renew(id) => match self.sessions.get_mut(id) {
                    Some((expires, _)) => {
                        *expires = at + 15_000 + chance.below(15_000);
                        Answer::Yes
                    }
                    None => Answer::Gone,
                },
                Call::Destroy(id) => {
                    self.end(id, at);
                    Answer::Yes
                }
                Call::Await(index) if *index == self.index && waited < 20_000 => return None,
                Call::Read | Call::Await(_) => Answer::Key(self.view(shards)),
                Call::Acquire(id) => {
                    let value = value((shards > 1).then_some(shards));
                    self.acquire(None, id, value, at)
                }
                Call::AcquireShard(place, id) => {
                    self.acquire(Some((shards, *place)), id, String::new(), at)
                }
                Call::Release(id) => self.release(None, id),
                Call::ReleaseShard(place, id) => self.release(Some((shards, *place)), id),
                Call::Members => {
                    let ours = self.sessions.iter();
                    let ours = ours.filter(|(_, (_, member))| *member == Some(shards));
                    Answer::Members(ours.map(|(id, _)| id.clone()).collect())
                }
            })
        }

        fn release(&mut self, name: Option<(usize, usize)>, id: &str) -> Answer {
            let key = self.keys.get_mut(&name);
            let Some(key) = key.filter(|key| key.session.as_deref() == Some(id)) else {
                return Answer::No;
            };
            key.session = None;
            self.index += 1;
            Answer::Yes
        }
    }

    struct Sent {
        by: (usize, u64),
        shards: usize,
        lane: Option<Lane>,
        call: Call,
        arrives: u64,
        arrived: Option<u64>,
        answer: Option<(u64, Answer)>,
        until: u64,
    }

    struct Member {
        contest: Contest,
        shards: usize,
        life: u64,
        frozen_until: u64,
        cut_off_until: u64,
        starts_at: Option<u64>,
        /// What is asked for a shard: the term, and the number of the confirmation.
        asked: Option<(usize, Term, u64)>,
    }

    /// Who wrote last to what.
    #[derive(Clone, Copy)]
    struct Write {
        by: (usize, u64),
        shards: usize,
        shard: usize,
        at: u64,
        given_back: bool,
    }

    #[derive(Debug, Default)]
    struct Tally {
        writes: u64,
        turns: u64,
        between_numbers: u64,
        given: u64,
    }

    struct World {
        began: Instant,
        chance: Chance,
        consul: Consul,
        members: Vec<Member>,
        sent: Vec<Sent>,
        writes: Vec<Write>,
        tally: Tally,
    }

    impl World {
        fn new(seed: u64) -> Self {
            let began = Instant::now();
            let mut chance = Chance(seed);
            let copies = 2 + chance.below(3);
            let shards = [4, 5, 8, 16][usize::try_from(chance.below(4)).expect("small")];
            let mut numbers = vec![shards];
            if chance.once_in(2) {
                numbers.push([1, 2][usize::try_from(chance.below(2)).expect("small")]);
            }
            let members = (0..copies).map(|_| {
                let pick = chance.below(numbers.len() as u64);
                let shards = numbers[usize::try_from(pick).expect("small")];
                Member {
                    contest: Contest::with_shards(shards, moment(began, 0)),
                    shards,
                    life: 0,
                    frozen_until: 0,
                    cut_off_until: 0,
                    starts_at: None,
                    asked: None,
                }
            });
            Self {
                began,
                members: members.collect(),
                chance,
                consul: Consul {
                    index: 1,
                    ..Consul::default()
                },
                sent: Vec::new(),
                writes: Vec::new(),
                tally: Tally::default(),
            }
        }

        fn is_awake(&self, who: usize, at: u64) -> bool {
            let member = &self.members[who];
            member.starts_at.is_none() && at >= member.frozen_until
        }

        fn send(&mut self, who: usize, lane: Option<Lane>, call: Call, at: u64) {
            let member = &self.members[who];
            let is_lost = at < member.cut_off_until && !self.chance.once_in(3);
            let late = if at < CALM && self.chance.once_in(20) {
                6_000
            } else {
                150
            };
            let limit = match call {
                Call::Await(_) => WAIT_LIMIT,
                _ => CALL_LIMIT,
            };
            self.sent.push(Sent {
                by: (who, member.life),
                shards: member.shards,
                lane,
                call,
                arrives: if is_lost {
                    u64::MAX
                } else {
                    at + self.chance.below(late)
                },
                arrived: None,
                answer: None,
                until: at + u64::try_from(limit.as_millis()).expect("small"),
            });
        }

        fn deliver(&mut self, at: u64) {
            let mut index = 0;
            while index < self.sent.len() {
                let sent = &mut self.sent[index];
                if sent.arrives <= at && sent.answer.is_none() {
                    let arrived = *sent.arrived.get_or_insert(at);
                    let chance = &mut self.chance;
                    let told =
                        self.consul
                            .take((&sent.call, sent.shards), at - arrived, at, chance);
                    if let Some(answer) = told {
                        if answer == Answer::Yes {
                            self.tally.given += u64::from(note_release(&mut self.writes, sent));
                        }
                        let cut_off = at < self.members[sent.by.0].cut_off_until;
                        let is_lost = cut_off && !chance.once_in(3);
                        let back = at + chance.below(150);
                        sent.answer = Some((if is_lost { u64::MAX } else { back }, answer));
                    }
                }
                let (who, life) = sent.by;
                let is_waited_for = sent.lane.is_some() && self.members[who].life == life;
                let answered = sent.answer.as_ref().is_some_and(|(back, _)| *back <= at);
                let is_over = answered || at >= sent.until;
                if is_waited_for && is_over && self.is_awake(who, at) {
                    let sent = self.sent.swap_remove(index);
                    let answer = match sent.answer {
                        Some((_, answer)) if answered => answer,
                        _ => Answer::Failed,
                    };
                    let now = moment(self.began, at);
                    let lane = sent.lane.expect("it is waited for");
                    self.members[who].contest.ended(lane, answer, now);
                } else if !is_waited_for && self.sent[index].answer.is_some() {
                    self.sent.swap_remove(index);
                } else {
                    index += 1;
                }
            }
        }

        fn trouble(&mut self, at: u64) {
            let who = usize::try_from(self.chance.below(self.members.len() as u64)).expect("small");
            if !self.is_awake(who, at) {
                return;
            }
            let length = 500 + self.chance.below(60_000);
            match self.chance.below(8) {
                0 => self.members[who].frozen_until = at + length,
                1 | 2 => self.members[who].cut_off_until = at + length,
                3 => self.consul.away_until = at + length / 3,
                4 | 5 => self.restart(who, at + length / 4),
                _ => {
                    // Some shards are clean, some are not.
                    let clean = self.chance.below(u64::MAX);
                    let member = &mut self.members[who];
                    let calls = member
                        .contest
                        .leave_by(|shard| member.shards == 1 || clean >> shard & 1 == 1);
                    for call in calls {
                        self.send(who, None, call, at);
                    }
                    self.restart(who, at + 1_000 + length / 4);
                }
            }
        }

        /// What was on its way is still delivered.
        fn restart(&mut self, who: usize, at: u64) {
            let member = &mut self.members[who];
            member.starts_at = Some(at);
            member.life += 1;
            member.asked = None;
        }

        fn turn(&mut self, who: usize, at: u64) {
            let now = moment(self.began, at);
            let member = &mut self.members[who];
            if member.starts_at.take_if(|start| *start <= at).is_some() {
                member.contest = Contest::with_shards(member.shards, now);
            }
            if !self.is_awake(who, at) {
                return;
            }
            let member = &mut self.members[who];
            if member.contest.waits_in_vain(now) {
                member.contest.dropped(Lane::Key);
                let by = (who, member.life);
                for sent in &mut self.sent {
                    if sent.by == by && sent.lane == Some(Lane::Key) {
                        sent.lane = None;
                    }
                }
            }
            for lane in Lane::ALL {
                if let Some(call) = self.members[who].contest.begin(lane, now) {
                    self.send(who, Some(lane), call, at);
                }
            }
            // Who wakes for nothing would do so without end.
            let wake = self.members[who].contest.wake(now);
            assert!(wake.is_none_or(|wake| wake > now.monotonic), "at {at}");
            let quiet = self.chance.once_in(50);
            let member = &mut self.members[who];
            member.contest.take_changes();
            if let Some(shard) = member.contest.giving().filter(|_| quiet) {
                member.contest.is_quiet(shard);
            }
            self.write(who, at);
        }

        fn write(&mut self, who: usize, at: u64) {
            let now = moment(self.began, at);
            let member = &mut self.members[who];
            let Some((shard, term, number)) = member.asked else {
                if self.chance.once_in(10) {
                    let shard = self.chance.below(member.shards as u64);
                    let shard = usize::try_from(shard).expect("small");
                    let held = member.contest.held_shard(shard);
                    if let Some(held) = held.filter(|held| held.is_good(now)) {
                        let number = member.contest.ask_for(shard, now);
                        member.asked = number.map(|number| (shard, held.term, number));
                    }
                }
                return;
            };
            let told = member.contest.confirmation_of(shard, number);
            if told == Confirmation::Pending {
                return;
            }
            member.asked = None;
            let held = member.contest.held_shard(shard);
            let is_held = held.is_some_and(|held| held.term == term && held.is_good(now));
            if told == Confirmation::Held(term) && is_held {
                let write = Write {
                    by: (who, member.life),
                    shards: member.shards,
                    shard,
                    at,
                    given_back: false,
                };
                self.wrote(write);
            }
        }

        fn wrote(&mut self, write: Write) {
            self.tally.writes += 1;
            for before in &self.writes {
                let is_same = before.shards == write.shards && before.shard == write.shard;
                let overlaps = is_same || before.shards != write.shards;
                if before.by == write.by || !overlaps {
                    continue;
                }
                self.tally.turns += u64::from(is_same);
                self.tally.between_numbers += u64::from(!is_same);
                // What was left unclean was ended, and has Consul's delay.
                let at_once = before.given_back && (is_same || before.shards == 1);
                let apart = if at_once { 0 } else { 15_000 };
                assert!(
                    write.at >= before.at + apart,
                    "at {} copy {:?} wrote to shard {} of {}, {} ms after copy {:?} to shard {} of {}",
                    write.at,
                    write.by,
                    write.shard,
                    write.shards,
                    write.at - before.at,
                    before.by,
                    before.shard,
                    before.shards
                );
            }
            let is_replaced =
                |before: &Write| before.shards == write.shards && before.shard == write.shard;
            self.writes.retain(|before| !is_replaced(before));
            self.writes.push(write);
        }

        fn check(&self, at: u64) {
            let now = moment(self.began, at);
            let mut holders: BTreeMap<(usize, usize), usize> = BTreeMap::new();
            for (who, member) in self.members.iter().enumerate() {
                if !self.is_awake(who, at) {
                    continue;
                }
                for shard in 0..member.shards {
                    let held = member.contest.held_shard(shard);
                    if held.is_some_and(|held| held.is_good(now)) {
                        let other = holders.insert((member.shards, shard), who);
                        assert_eq!(other, None, "at {at} shard {shard} is two copies'");
                    }
                }
            }
            let numbers = holders.keys().map(|(shards, _)| *shards);
            let numbers: std::collections::BTreeSet<usize> = numbers.collect();
            assert!(
                numbers.len() < 2,
                "at {at} copies with {numbers:?} shards may write"
            );
        }

        fn run(mut self) -> Tally {
            for at in (0..END).step_by(usize::try_from(STEP).expect("small")) {
                if at < CALM && self.chance.once_in(60) {
                    self.trouble(at);
                }
                if at == CALM {
                    self.consul.away_until = 0;
                    for member in &mut self.members {
                        member.cut_off_until = 0;
                        member.frozen_until = 0;
                        member.starts_at = member.starts_at.map(|_| at);
                    }
                }
                self.consul.step(at);
                self.deliver(at);
                for who in 0..self.members.len() {
                    self.turn(who, at);
                }
                self.check(at);
            }
            let now = moment(self.began, END - STEP);
            let holds = |member: &Member| {
                let good = |shard: &usize| {
                    let held = member.contest.held_shard(*shard);
                    held.is_some_and(|held| held.is_good(now))
                };
                (0..member.shards).filter(good).count()
            };
            let counts: Vec<(usize, usize)> = self
                .members
                .iter()
                .map(|member| (member.shards, holds(member)))
                .collect();
            let number = counts.iter().find(|(_, count)| *count > 0);
            let (number, _) =
                *number.unwrap_or_else(|| panic!("nobody holds anything: {counts:?}"));
            let of_number = counts.iter().filter(|(shards, _)| *shards == number);
            let of_number: Vec<usize> = of_number.map(|(_, count)| *count).collect();
            assert_eq!(of_number.iter().sum::<usize>(), number, "{counts:?}");
            let (most, least) = (of_number.iter().max(), of_number.iter().min());
            assert!(
                most.zip(least)
                    .is_some_and(|(most, least)| most - least < 2),
                "{counts:?}"
            );
            self.tally
        }
    }

    /// Whether the last writer to a shard has given it back.
    fn note_release(writes: &mut [Write], sent: &Sent) -> bool {
        let shard = match &sent.call {
            Call::Release(_) => 0,
            Call::ReleaseShard(shard, _) => *shard,
            _ => return false,
        };
        let is_of = |write: &&mut Write| {
            let (who, life) = write.by;
            let by = who == sent.by.0 && (life == sent.by.1);
            by && (write.shards, write.shard) == (sent.shards, shard)
        };
        let write = writes.iter_mut().find(is_of);
        write.map(|write| write.given_back = true).is_some()
    }

    #[test]
    fn no_shard_is_two_copies_and_no_two_numbers_of_shards_write_whatever_happens() {
        let mut sum = Tally::default();
        for tally in each_seed(40, |seed| World::new(seed).run()) {
            sum.writes += tally.writes;
            sum.turns += tally.turns;
            sum.between_numbers += tally.between_numbers;
            sum.given += tally.given;
        }
        // Otherwise it proves nothing.
        assert!(sum.writes > 7_000, "{sum:?}");
        assert!(sum.turns > 300, "{sum:?}");
        assert!(sum.between_numbers > 15, "{sum:?}");
        assert!(sum.given > 60, "{sum:?}");
    }
}
