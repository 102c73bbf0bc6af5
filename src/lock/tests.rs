//! The contest, by tables and against a model of Consul under random trouble.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::contest::{
    Answer, CALL_LIMIT, Call, Change, Confirmation, Contest, Entry, KeyView, Lane, LockIdentity,
    Loss, RENEWAL_INTERVAL, TTL, UNHEARD_LIMIT, VALIDITY, WAIT, WAIT_LIMIT, WRITE_LIMIT,
};
use crate::scaling::Now;

/// Moments of one copy's clocks, in milliseconds.
#[derive(Clone, Copy)]
struct Clocks(Instant);

impl Clocks {
    fn new() -> Self {
        Self(Instant::now())
    }

    /// The wall clock has gained `ahead` on the monotonic one since the beginning.
    fn at(self, monotonic: u64, ahead: i64) -> Now {
        let wall = i64::try_from(monotonic).expect("small") + ahead;
        Now {
            monotonic: self.0 + Duration::from_millis(monotonic),
            wall: Timestamp::UNIX_EPOCH + SignedDuration::from_millis(wall),
        }
    }
}

fn view(index: u64, session: Option<&str>, lock: (u64, u64)) -> KeyView {
    KeyView {
        index,
        entry: Some(Entry {
            session: session.map(str::to_owned),
            lock: LockIdentity {
                created: lock.0,
                locked: lock.1,
            },
            value: session.unwrap_or_default().to_owned(),
        }),
        shards: Vec::new(),
    }
}

/// A contest, and the calls that it has begun.
struct Copy {
    contest: Contest,
    clocks: Clocks,
    ahead: i64,
}

impl Copy {
    fn new() -> Self {
        let clocks = Clocks::new();
        Self {
            contest: Contest::new(clocks.at(0, 0)),
            clocks,
            ahead: 0,
        }
    }

    fn now(&self, at: u64) -> Now {
        self.clocks.at(at, self.ahead)
    }

    #[track_caller]
    fn expect(&mut self, lane: Lane, at: u64, call: &Call) {
        let now = self.now(at);
        assert_eq!(self.contest.begin(lane, now).as_ref(), Some(call));
    }

    #[track_caller]
    fn expect_none(&mut self, lane: Lane, at: u64) {
        let now = self.now(at);
        assert_eq!(self.contest.begin(lane, now), None);
    }

    fn answer(&mut self, lane: Lane, at: u64, answer: Answer) {
        let now = self.now(at);
        self.contest.ended(lane, answer, now);
    }

    /// A call that is answered at once.
    #[track_caller]
    fn call(&mut self, lane: Lane, at: u64, call: &Call, answer: Answer) {
        self.expect(lane, at, call);
        self.answer(lane, at, answer);
    }

    fn is_good(&self, at: u64) -> bool {
        let now = self.now(at);
        self.contest.held().is_some_and(|held| held.is_good(now))
    }

    /// A session `s` since 0 that holds the lock (7, 1), whose key is awaited with index 10.
    fn holding() -> Self {
        let mut copy = Self::new();
        copy.call(Lane::Session, 0, &Call::Register, Answer::Yes);
        copy.call(Lane::Session, 0, &Call::Open, Answer::Opened("s".into()));
        let free = KeyView {
            index: 5,
            entry: None,
            shards: Vec::new(),
        };
        copy.call(Lane::Key, 0, &Call::Read, Answer::Key(free));
        copy.call(Lane::Key, 0, &Call::Acquire("s".into()), Answer::Yes);
        copy.expect_none(Lane::Key, 0);
        let ours = Answer::Key(view(10, Some("s"), (7, 1)));
        copy.call(Lane::Key, 100, &Call::Read, ours);
        assert_eq!(copy.contest.take_changes(), [Change::Acquired]);
        copy.expect(Lane::Key, 200, &Call::Await(10));
        copy
    }

    /// One that stands by behind `other`, whose key is awaited with index 10.
    fn standing_by() -> Self {
        let mut copy = Self::new();
        copy.call(Lane::Session, 0, &Call::Register, Answer::Yes);
        copy.call(Lane::Session, 0, &Call::Open, Answer::Opened("s".into()));
        let taken = Answer::Key(view(10, Some("other"), (7, 1)));
        copy.call(Lane::Key, 0, &Call::Read, taken);
        let behind = Change::Behind("other".into());
        assert_eq!(copy.contest.take_changes(), [behind]);
        copy.expect(Lane::Key, 100, &Call::Await(10));
        copy
    }
}

fn s() -> String {
    "s".to_owned()
}

#[test]
fn the_numbers_leave_five_seconds_between_the_last_of_one_copy_and_the_first_of_the_next() {
    let first_of_next = TTL + super::contest::LOCK_DELAY;
    assert_eq!(
        first_of_next,
        VALIDITY + WRITE_LIMIT + Duration::from_secs(5)
    );
    assert!(VALIDITY + WRITE_LIMIT + UNHEARD_LIMIT < first_of_next);
    assert_eq!(TTL, VALIDITY + Duration::from_secs(5));
    // One renewal may fail.
    assert!(RENEWAL_INTERVAL * 2 < VALIDITY);
    assert!(WAIT + WAIT / 16 + CALL_LIMIT < WAIT_LIMIT);
}

#[test]
fn a_renewal_vouches_for_ten_seconds_from_its_sending_and_not_over_a_suspension() {
    // Milliseconds of the monotonic clock, by how much the wall clock is ahead, and whether a write may begin.
    let cases = [
        (200, 0, true),
        (9_999, 0, true),
        (10_000, 0, false),
        (5_000, 1_999, true),
        (5_000, 2_000, false),
        (5_000, 3_600_000, false),
        // It was set back.
        (5_000, -3_600_000, true),
        (10_000, -3_600_000, false),
    ];
    for (at, ahead, expected) in cases {
        let mut copy = Copy::holding();
        copy.ahead = ahead;
        assert_eq!(copy.is_good(at), expected, "{at}, {ahead}");
        let now = copy.now(at);
        copy.contest.look(now);
        assert_eq!(copy.contest.held().is_some(), expected, "{at}, {ahead}");
        let changes = copy.contest.take_changes();
        let lost = [Change::Lost(Loss::NotRenewed)];
        assert_eq!(changes, if expected { &lost[..0] } else { &lost });
    }
}

#[test]
fn a_renewal_counts_from_its_sending_and_not_from_its_answer() {
    let mut copy = Copy::holding();
    copy.expect_none(Lane::Session, 3_999);
    copy.expect(Lane::Session, 4_000, &Call::Renew(s()));
    copy.answer(Lane::Session, 6_400, Answer::Yes);
    assert!(copy.is_good(13_999));
    assert!(!copy.is_good(14_000));
    copy.expect_none(Lane::Session, 7_999);
    // One that fails is tried again soon.
    copy.expect(Lane::Session, 8_000, &Call::Renew(s()));
    copy.answer(Lane::Session, 10_500, Answer::Failed);
    copy.expect_none(Lane::Session, 11_499);
    copy.expect(Lane::Session, 11_500, &Call::Renew(s()));
    // An answer that comes when all is over makes nothing good.
    copy.answer(Lane::Session, 14_000, Answer::Yes);
    assert!(!copy.is_good(14_000));
    assert_eq!(
        copy.contest.take_changes(),
        [Change::Lost(Loss::NotRenewed)]
    );
}

#[test]
fn a_session_that_is_refused_for_longer_than_it_can_live_is_followed_by_another() {
    let mut copy = Copy::standing_by();
    let mut at = 4_000;
    while at < 32_500 {
        copy.call(Lane::Session, at, &Call::Renew(s()), Answer::Failed);
        at += 1_000;
    }
    copy.call(Lane::Session, 33_000, &Call::Renew(s()), Answer::Failed);
    copy.expect(Lane::Session, 34_000, &Call::Open);
}

#[test]
fn a_lock_whose_key_cannot_be_read_for_a_minute_is_given_up_with_its_session() {
    let mut copy = Copy::holding();
    let mut at = 4_000;
    while at <= 60_000 {
        copy.call(Lane::Session, at, &Call::Renew(s()), Answer::Yes);
        at += 4_000;
    }
    assert!(copy.is_good(60_099));
    // It was last seen at 100 ms.
    copy.expect_none(Lane::Session, 60_099);
    copy.call(
        Lane::Session,
        60_100,
        &Call::Open,
        Answer::Opened("t".into()),
    );
    assert!(!copy.is_good(60_100));
    assert_eq!(copy.contest.take_changes(), [Change::Lost(Loss::Unseen)]);
}

impl Copy {
    /// Renews its session every four seconds from one moment to another.
    fn renew(&mut self, from: u64, until: u64) {
        for at in (from..=until).step_by(4_000) {
            self.call(Lane::Session, at, &Call::Renew(s()), Answer::Yes);
        }
    }

    fn passed(&mut self, has_seen: bool, at: u64) {
        let now = self.now(at);
        self.contest.passed(has_seen, now);
    }

    /// The call that waits for a change is answered, and begun anew.
    fn looks(&mut self, at: u64) {
        self.answer(Lane::Key, at, Answer::Key(view(10, Some("s"), (7, 1))));
        self.expect(Lane::Key, at + 1_000, &Call::Await(10));
    }

    /// Renews its session where that is due.
    fn renew_if_due(&mut self, at: u64) {
        let now = self.now(at);
        while self.contest.begin(Lane::Session, now).is_some() {
            self.answer(Lane::Session, at, Answer::Yes);
        }
    }
}

#[test]
fn a_copy_whose_passes_see_nothing_leaves_the_lock_to_others() {
    for (name, patience, seen_at, is_held) in [
        ("nothing for two minutes", 0, None, false),
        ("a pass that sees begins it anew", 0, Some(60_000), true),
        ("intervals that are long", 121, None, true),
    ] {
        let mut copy = Copy::holding();
        copy.contest = copy.contest.patient_for(Duration::from_secs(patience));
        copy.renew(4_000, 8_000);
        copy.passed(false, 10_000);
        copy.renew(12_000, 48_000);
        copy.looks(50_000);
        copy.renew(52_000, 60_000);
        if let Some(at) = seen_at {
            copy.passed(true, at);
        }
        copy.passed(false, 61_000);
        copy.renew(64_000, 88_000);
        copy.looks(90_000);
        copy.renew(92_000, 128_000);
        assert!(copy.is_good(129_999), "{name}");
        let wake = copy.contest.wake(copy.now(129_999));
        let over = copy.now(130_000);
        assert_eq!(wake == Some(over.monotonic), !is_held, "{name}");
        copy.contest.look(over);
        assert_eq!(copy.is_good(130_000), is_held, "{name}");
        let lost: &[Change] = &[Change::Lost(Loss::Blind)];
        let expected = if is_held { &[] } else { lost };
        assert_eq!(copy.contest.take_changes(), expected, "{name}");
    }
}

/// A holder of `s` whose passes see nothing since 10 s, and that has renewed it until then.
fn without_sight(until: u64) -> Copy {
    let mut copy = Copy::holding();
    copy.renew(4_000, 8_000);
    copy.passed(false, 10_000);
    copy.renew(12_000, 48_000);
    copy.looks(50_000);
    copy.renew(52_000, 88_000);
    copy.looks(90_000);
    copy.renew(92_000, until);
    copy
}

/// One that has given the lock up at 130 s because it sees nothing, with another session `t` since then, which was renewed
/// until 427 s; the key is free.
fn blind(until: u64) -> Copy {
    let mut copy = without_sight(128_000);
    copy.passed(false, 130_000);
    assert!(copy.contest.waits_in_vain(copy.now(130_000)));
    copy.contest.dropped(Lane::Key);
    let opened = Answer::Opened("t".into());
    copy.call(Lane::Session, 130_000, &Call::Open, opened);
    let free = Answer::Key(view(12, None, (7, 1)));
    copy.call(Lane::Key, 130_000, &Call::Read, free);
    copy.expect(Lane::Key, 130_100, &Call::Await(12));
    for at in (135_000..=until).step_by(4_000) {
        copy.renew_if_due(at);
        if at % 20_000 == 11_000 {
            let free = Answer::Key(view(12, None, (7, 1)));
            copy.answer(Lane::Key, at, free);
            copy.expect(Lane::Key, at + 1_000, &Call::Await(12));
        }
    }
    copy
}

#[test]
fn who_sees_again_competes_at_once_and_who_has_no_pass_after_five_minutes() {
    let mut copy = blind(139_000);
    let now = copy.now(140_000);
    assert!(!copy.contest.waits_in_vain(now));
    copy.passed(true, 140_000);
    assert!(copy.contest.waits_in_vain(now), "no change is waited for");
    copy.contest.dropped(Lane::Key);
    copy.expect(Lane::Key, 140_000, &Call::Acquire("t".into()));

    let copy = blind(427_000);
    let (before, after) = (copy.now(429_999), copy.now(430_000));
    assert!(!copy.contest.waits_in_vain(before));
    assert_eq!(copy.contest.wake(before), Some(after.monotonic));
    assert!(copy.contest.waits_in_vain(after));

    let mut copy = blind(427_000);
    copy.passed(false, 300_000);
    assert!(
        !copy.contest.waits_in_vain(copy.now(430_000)),
        "still blind"
    );
}

/// A holder of `s` without sight since 10 s, which could not renew from 118 s on and lost the lock by that; its session lives
/// on and is renewed again at 131 s, when the key is looked at.
fn blind_and_unheard() -> Copy {
    let mut copy = without_sight(116_000);
    let renew = Call::Renew("s".into());
    copy.call(Lane::Session, 120_000, &renew, Answer::Failed);
    copy.contest.look(copy.now(127_000));
    let lost = [Change::Lost(Loss::NotRenewed)];
    assert_eq!(copy.contest.take_changes(), lost);
    copy.contest.dropped(Lane::Key);
    copy
}

#[test]
fn a_lock_that_is_only_kept_from_others_is_given_up_too_where_passes_see_nothing() {
    let mut copy = blind_and_unheard();
    copy.call(
        Lane::Session,
        131_000,
        &Call::Renew("s".into()),
        Answer::Yes,
    );
    let own = Answer::Key(view(12, Some("s"), (7, 1)));
    copy.call(Lane::Key, 131_000, &Call::Read, own);
    // It renews no longer what it cannot use.
    copy.expect(Lane::Session, 132_000, &Call::Open);
    let left = [Change::Left(Loss::Blind)];
    assert_eq!(copy.contest.take_changes(), left);
}

#[test]
fn a_session_that_cannot_be_renewed_though_keys_can_be_read_is_followed_by_another_a_minute_later()
{
    let mut copy = Copy::standing_by();
    let others = || Answer::Key(view(10, Some("other"), (7, 1)));
    for at in (4_000..33_000).step_by(1_000) {
        copy.call(Lane::Session, at, &Call::Renew(s()), Answer::Failed);
        if at % 10_000 == 0 {
            copy.answer(Lane::Key, at, others());
            copy.expect(Lane::Key, at, &Call::Await(10));
        }
    }
    copy.call(Lane::Session, 33_000, &Call::Renew(s()), Answer::Failed);
    copy.expect_none(Lane::Session, 92_999);
    copy.expect(Lane::Session, 93_000, &Call::Open);
}

#[test]
fn a_session_whose_key_cannot_be_read_is_left_to_end_though_nothing_is_held() {
    let mut copy = Copy::new();
    copy.call(Lane::Session, 0, &Call::Register, Answer::Yes);
    copy.call(Lane::Session, 0, &Call::Open, Answer::Opened("s".into()));
    copy.call(Lane::Key, 0, &Call::Read, Answer::Failed);
    copy.renew(4_000, 56_000);
    copy.expect(Lane::Session, 60_000, &Call::Open);
}

#[test]
fn a_lock_that_cannot_be_taken_though_it_is_this_copys_is_left_to_others() {
    let mut copy = Copy::new();
    copy.call(Lane::Session, 0, &Call::Register, Answer::Yes);
    copy.call(Lane::Session, 0, &Call::Open, Answer::Opened("s".into()));
    let ours = || Answer::Key(view(12, Some("s"), (7, 1)));
    copy.call(Lane::Key, 0, &Call::Read, ours());
    let mut tries = 0;
    for at in (0..60_000).step_by(100) {
        copy.renew_if_due(at);
        let now = copy.now(at);
        match copy.contest.begin(Lane::Key, now) {
            Some(Call::Acquire(_)) => {
                tries += 1;
                copy.answer(Lane::Key, at, Answer::Failed);
            }
            Some(Call::Read) => copy.answer(Lane::Key, at, ours()),
            other => assert_eq!(other, None, "{at}"),
        }
    }
    assert!(tries > 10, "{tries}");
    // For a minute the lock is others', who may have stood by for it all the time.
    copy.expect_none(Lane::Session, 60_000);
    copy.expect_none(Lane::Session, 119_999);
    let opened = Answer::Opened("t".into());
    copy.call(Lane::Session, 120_000, &Call::Open, opened);
    // It stands behind nobody but itself.
    copy.call(Lane::Key, 120_100, &Call::Read, ours());
    assert_eq!(copy.contest.behind(), None);
    let left = [Change::Left(Loss::InVain)];
    assert_eq!(copy.contest.take_changes(), left);
}

impl Copy {
    /// A pass asks for a confirmation, and taking the lock again is answered so.
    fn confirms(&mut self, at: u64, answer: Answer) -> Confirmation {
        let now = self.now(at);
        let number = self.contest.ask(now).expect("it holds the lock");
        self.call(Lane::Confirmation, at, &Call::Renew(s()), Answer::Yes);
        self.call(Lane::Confirmation, at, &Call::Acquire(s()), answer);
        if self.contest.confirmation(number) == Confirmation::Pending {
            let ours = Answer::Key(view(10, Some("s"), (7, 1)));
            self.call(Lane::Confirmation, at, &Call::Read, ours);
        }
        self.contest.confirmation(number)
    }
}

#[test]
fn a_lock_of_which_no_confirmation_succeeds_for_a_minute_is_left_to_others() {
    for confirmed_at in [None, Some(48_000)] {
        let mut copy = Copy::holding();
        for at in (1_000..=68_000).step_by(1_000) {
            copy.renew_if_due(at);
            if at % 20_000 == 10_000 {
                copy.looks(at);
            }
            if at % 20_000 == 8_000 {
                let is_confirmed = confirmed_at == Some(at);
                let answer = if is_confirmed {
                    Answer::Yes
                } else {
                    Answer::Failed
                };
                let told = copy.confirms(at, answer);
                assert_eq!(told != Confirmation::Unconfirmed, is_confirmed, "{at}");
            }
        }
        let is_held = confirmed_at.is_some();
        assert_eq!(copy.is_good(68_000), is_held, "{confirmed_at:?}");
        let lost: &[Change] = &[Change::Lost(Loss::InVain)];
        let expected = if is_held { &[] } else { lost };
        assert_eq!(copy.contest.take_changes(), expected, "{confirmed_at:?}");
    }
}

#[test]
fn a_confirmation_that_fails_once_is_made_again_without_being_asked_for_and_is_forgotten() {
    let mut copy = Copy::holding();
    copy.renew_if_due(4_000);
    assert_eq!(
        copy.confirms(5_000, Answer::Failed),
        Confirmation::Unconfirmed
    );
    copy.expect_none(Lane::Confirmation, 9_999);
    let now = copy.now(9_999);
    copy.renew_if_due(9_999);
    let due = copy.now(10_000).monotonic;
    assert_eq!(copy.contest.wake(now), Some(due));
    copy.call(Lane::Confirmation, 10_000, &Call::Renew(s()), Answer::Yes);
    copy.call(Lane::Confirmation, 10_000, &Call::Acquire(s()), Answer::Yes);
    // Who asks meanwhile is told by the next.
    let now = copy.now(10_000);
    let number = copy.contest.ask(now).expect("it holds the lock");
    let ours = || Answer::Key(view(10, Some("s"), (7, 1)));
    copy.call(Lane::Confirmation, 10_000, &Call::Read, ours());
    assert_eq!(copy.contest.confirmation(number), Confirmation::Pending);
    assert_eq!(
        copy.confirms(10_000, Answer::Yes),
        Confirmation::Held(super::Term::FIRST)
    );
    copy.expect_none(Lane::Confirmation, 16_000);
    for at in (14_000..=80_000).step_by(1_000) {
        copy.renew_if_due(at);
        if at % 20_000 == 0 {
            copy.looks(at);
        }
    }
    assert_eq!(
        copy.confirms(80_000, Answer::Failed),
        Confirmation::Unconfirmed
    );
    assert!(copy.is_good(80_000));
}

#[test]
fn apps_that_cannot_be_listed_are_as_good_as_a_pass_that_sees_nothing() {
    // When the apps could be listed again, and whether the lock is still held at 130 s.
    for (listed_at, is_held) in [(None, false), (Some(60_000), true)] {
        let mut copy = Copy::holding();
        copy.renew(4_000, 8_000);
        let now = copy.now(10_000);
        copy.contest.listed(false, now);
        copy.renew(12_000, 48_000);
        copy.looks(50_000);
        copy.renew(52_000, 60_000);
        if let Some(at) = listed_at {
            let now = copy.now(at);
            copy.contest.listed(true, now);
        }
        copy.renew(64_000, 88_000);
        copy.looks(90_000);
        copy.renew(92_000, 128_000);
        copy.contest.look(copy.now(130_000));
        assert_eq!(copy.is_good(130_000), is_held, "{listed_at:?}");
    }
    // A list is no sight of machines: the rest goes on.
    let mut copy = blind(139_000);
    let now = copy.now(140_000);
    copy.contest.listed(true, now);
    assert!(copy.contest.rests(copy.now(140_000)));
}

#[test]
fn waiting_for_a_change_that_always_fails_is_tried_later_and_later() {
    let mut copy = Copy::holding();
    copy.contest.dropped(Lane::Key);
    let (mut begun, mut at) = (Vec::new(), 1_000);
    while begun.len() < 5 {
        if at % 4_000 == 0 {
            copy.renew(at, at);
        }
        let now = copy.now(at);
        match copy.contest.begin(Lane::Key, now) {
            Some(Call::Await(_)) => {
                begun.push(at);
                copy.answer(Lane::Key, at, Answer::Failed);
            }
            Some(Call::Read) => {
                let own = view(10, Some("s"), (7, 1));
                copy.answer(Lane::Key, at, Answer::Key(own));
            }
            None => {}
            Some(other) => panic!("{other:?} at {at}"),
        }
        at += 100;
        assert!(at < 60_000, "{begun:?}");
    }
    let apart: Vec<u64> = begun.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(apart, [1_100, 2_100, 4_100, 5_100]);
}

#[test]
fn taking_the_lock_is_tried_again_later_and_later_where_it_comes_to_nothing() {
    let mut copy = Copy::new();
    copy.call(Lane::Session, 0, &Call::Register, Answer::Yes);
    copy.call(Lane::Session, 0, &Call::Open, Answer::Opened("s".into()));
    let free = || Answer::Key(view(12, None, (7, 1)));
    copy.call(Lane::Key, 0, &Call::Read, free());
    let mut at = 0;
    for (answer, pause) in [
        (Answer::Failed, 1_000),
        (Answer::Failed, 2_000),
        (Answer::Failed, 4_000),
        (Answer::Failed, 5_000),
        (Answer::No, 1_000),
        (Answer::Failed, 1_000),
    ] {
        copy.renew_if_due(at);
        copy.call(Lane::Key, at, &Call::Acquire(s()), answer);
        copy.call(Lane::Key, at + 1_000, &Call::Read, free());
        at += pause;
        copy.renew_if_due(at - 1);
        if pause > 1_000 {
            copy.expect_none(Lane::Key, at - 1);
        }
    }
    copy.renew_if_due(at);
    copy.expect(Lane::Key, at, &Call::Acquire(s()));
}

#[test]
fn what_was_lost_is_competed_for_again_with_the_same_session_as_another_term() {
    let mut copy = Copy::holding();
    let first = copy.contest.held().expect("it holds the lock").term;
    let now = copy.now(10_000);
    copy.contest.look(now);
    // The call that waits for another holder is of no use: there is none.
    assert!(copy.contest.waits_in_vain(now));
    copy.contest.dropped(Lane::Key);
    let ours = Answer::Key(view(10, Some("s"), (7, 1)));
    copy.call(Lane::Key, 10_000, &Call::Read, ours.clone());
    // Not with a session that may be over.
    copy.expect_none(Lane::Key, 10_100);
    copy.call(Lane::Session, 10_100, &Call::Renew(s()), Answer::Yes);
    copy.call(Lane::Key, 10_200, &Call::Acquire(s()), Answer::Yes);
    copy.call(Lane::Key, 10_200, &Call::Read, ours);
    let second = copy.contest.held().expect("it holds the lock").term;
    assert!(second > first);
}

#[test]
fn a_holder_stops_at_once_where_the_lock_is_anothers_or_the_session_is_over() {
    type Case = (&'static str, Lane, Answer, Loss);
    let anothers = |lock| Answer::Key(view(11, Some("other"), lock));
    let deleted = Answer::Key(KeyView {
        index: 11,
        entry: None,
        shards: Vec::new(),
    });
    let cases: [Case; 6] = [
        ("another's", Lane::Key, anothers((7, 2)), Loss::Taken),
        ("deleted", Lane::Key, deleted, Loss::Taken),
        (
            "unlocked",
            Lane::Key,
            Answer::Key(view(11, None, (7, 1))),
            Loss::Taken,
        ),
        (
            "locked again by us after somebody else",
            Lane::Key,
            Answer::Key(view(11, Some("s"), (7, 3))),
            Loss::Taken,
        ),
        (
            "another key of the same name",
            Lane::Key,
            Answer::Key(view(11, Some("s"), (9, 1))),
            Loss::Taken,
        ),
        ("404", Lane::Session, Answer::Gone, Loss::SessionOver),
    ];
    for (name, lane, answer, loss) in cases {
        let mut copy = Copy::holding();
        if lane == Lane::Session {
            copy.expect(lane, 4_000, &Call::Renew(s()));
        }
        copy.answer(lane, 4_000, answer);
        assert_eq!(copy.contest.held(), None, "{name}");
        let changes = copy.contest.take_changes();
        assert_eq!(changes.first(), Some(&Change::Lost(loss)), "{name}");
        let now = copy.now(4_000);
        assert_eq!(copy.contest.ask(now), None, "{name}");
    }
}

#[test]
fn who_changes_only_what_stands_in_the_key_takes_nothing() {
    let mut copy = Copy::holding();
    let mut changed = view(11, Some("s"), (7, 1));
    if let Some(entry) = &mut changed.entry {
        entry.value = "graffiti".into();
    }
    copy.answer(Lane::Key, 4_000, Answer::Key(changed));
    assert!(copy.contest.held().is_some());
    assert_eq!(copy.contest.take_changes(), []);
}

#[test]
fn a_session_that_is_over_is_followed_by_another_and_the_node_made_known_where_that_fails() {
    let mut copy = Copy::standing_by();
    copy.call(Lane::Session, 4_000, &Call::Renew(s()), Answer::Gone);
    copy.expect_none(Lane::Session, 4_999);
    copy.call(Lane::Session, 5_000, &Call::Open, Answer::Failed);
    copy.expect_none(Lane::Session, 5_999);
    copy.call(Lane::Session, 6_000, &Call::Register, Answer::Yes);
    let opened = Answer::Opened("t".into());
    copy.call(Lane::Session, 6_000, &Call::Open, opened);
    copy.expect_none(Lane::Session, 9_999);
    copy.expect(Lane::Session, 10_000, &Call::Renew("t".into()));
    // What was awaited for the old session is read again for the new one.
    let now = copy.now(10_000);
    assert!(copy.contest.waits_in_vain(now));
}

#[test]
fn pauses_grow_to_five_seconds_while_consul_is_away() {
    let mut copy = Copy::new();
    let mut at = 0;
    for pause in [1_000, 2_000, 4_000, 5_000, 5_000] {
        copy.call(Lane::Session, at, &Call::Register, Answer::Failed);
        copy.expect_none(Lane::Session, at + pause - 1);
        at += pause;
    }
    copy.expect_none(Lane::Key, at);
}

#[test]
fn a_standby_takes_the_lock_when_it_is_free_and_tries_each_second_during_a_lock_delay() {
    let mut copy = Copy::standing_by();
    let free = Answer::Key(view(11, None, (7, 1)));
    copy.call(Lane::Session, 4_000, &Call::Renew(s()), Answer::Yes);
    copy.answer(Lane::Key, 5_000, free.clone());
    copy.call(Lane::Key, 5_000, &Call::Acquire(s()), Answer::No);
    copy.call(Lane::Key, 5_000, &Call::Read, free.clone());
    copy.expect_none(Lane::Key, 5_999);
    copy.call(Lane::Key, 6_000, &Call::Acquire(s()), Answer::No);
    // Somebody came first.
    let taken = Answer::Key(view(12, Some("third"), (7, 2)));
    copy.call(Lane::Key, 6_000, &Call::Read, taken);
    let behind = Change::Behind("third".into());
    assert_eq!(copy.contest.take_changes(), [Change::Free, behind]);
    copy.expect(Lane::Key, 6_100, &Call::Await(12));
    assert!(!copy.is_good(6_100));
}

#[test]
fn a_lock_that_was_given_without_anybody_hearing_of_it_is_asked_for_again() {
    let mut copy = Copy::standing_by();
    copy.answer(Lane::Key, 1_000, Answer::Key(view(11, None, (7, 1))));
    copy.call(Lane::Key, 1_000, &Call::Acquire(s()), Answer::Failed);
    let ours = Answer::Key(view(12, Some("s"), (7, 2)));
    copy.call(Lane::Key, 2_000, &Call::Read, ours.clone());
    assert!(!copy.is_good(2_000), "nobody has said yes");
    copy.call(Lane::Key, 2_000, &Call::Acquire(s()), Answer::Yes);
    copy.call(Lane::Key, 2_100, &Call::Read, ours);
    assert!(copy.is_good(2_100));
}

#[test]
fn what_waits_for_a_change_is_not_asked_in_a_hot_loop() {
    let mut copy = Copy::standing_by();
    let same = Answer::Key(view(10, Some("other"), (7, 1)));
    copy.answer(Lane::Key, 110, same.clone());
    copy.expect_none(Lane::Key, 1_099);
    copy.expect(Lane::Key, 1_100, &Call::Await(10));
    // After its time, at once.
    copy.answer(Lane::Key, 21_200, same);
    copy.expect(Lane::Key, 21_200, &Call::Await(10));
    for at in (21_210..21_290).step_by(10) {
        let other = Answer::Key(view(at, Some("other"), (at, 1)));
        if copy.contest.begin(Lane::Key, copy.now(at)).is_none() && at > 21_210 {
            continue;
        }
        copy.answer(Lane::Key, at, other);
    }
    copy.expect_none(Lane::Key, 21_299);
}

/// A confirmation that was asked for at 1000 and is answered step by step, a tenth of a second each.
fn confirmed(answers: &[(Call, Answer)]) -> (Copy, Confirmation) {
    let mut copy = Copy::holding();
    let now = copy.now(1_000);
    let number = copy.contest.ask(now).expect("it holds the lock");
    for (at, (call, answer)) in (1_000..).step_by(100).zip(answers) {
        assert_eq!(copy.contest.confirmation(number), Confirmation::Pending);
        copy.call(Lane::Confirmation, at, call, answer.clone());
    }
    let told = copy.contest.confirmation(number);
    (copy, told)
}

/// What is answered, and whether the lock is held after that.
type Unconfirmed = (&'static str, Vec<(Call, Answer)>, bool);

#[test]
fn a_confirmation_renews_takes_the_lock_again_and_sees_that_it_is_the_same() {
    let renew = || (Call::Renew(s()), Answer::Yes);
    let acquire = || (Call::Acquire(s()), Answer::Yes);
    let (copy, told) = confirmed(&[
        renew(),
        acquire(),
        (Call::Read, Answer::Key(view(10, Some("s"), (7, 1)))),
    ]);
    let held = copy
        .contest
        .held()
        .map(|held| Confirmation::Held(held.term));
    assert_eq!(Some(told), held);
    assert!(copy.is_good(10_999), "it is a renewal");
    assert!(!copy.is_good(11_000));
    let refused: [Unconfirmed; 8] = [
        ("no answer", vec![(Call::Renew(s()), Answer::Failed)], true),
        ("404", vec![(Call::Renew(s()), Answer::Gone)], false),
        (
            "no answer to the second",
            vec![renew(), (Call::Acquire(s()), Answer::Failed)],
            true,
        ),
        (
            "it is another's",
            vec![renew(), (Call::Acquire(s()), Answer::No)],
            false,
        ),
        (
            "the session is over",
            vec![renew(), (Call::Acquire(s()), Answer::Gone)],
            false,
        ),
        (
            "it was another's in between",
            vec![
                renew(),
                acquire(),
                (Call::Read, Answer::Key(view(12, Some("s"), (7, 3)))),
            ],
            false,
        ),
        (
            "the key was made anew",
            vec![
                renew(),
                acquire(),
                (Call::Read, Answer::Key(view(12, Some("s"), (9, 1)))),
            ],
            false,
        ),
        (
            "no answer to the last",
            vec![renew(), acquire(), (Call::Read, Answer::Failed)],
            true,
        ),
    ];
    for (name, answers, still_holds) in refused {
        let (copy, told) = confirmed(&answers);
        assert_eq!(told, Confirmation::Unconfirmed, "{name}");
        assert_eq!(copy.contest.held().is_some(), still_holds, "{name}");
    }
}

#[test]
fn who_asks_while_a_confirmation_is_under_way_is_told_by_the_next() {
    let mut copy = Copy::holding();
    let ask = |copy: &mut Copy, at| {
        let now = copy.now(at);
        copy.contest.ask(now).expect("it holds the lock")
    };
    let first = ask(&mut copy, 1_000);
    assert_eq!(ask(&mut copy, 1_000), first, "they share it");
    copy.expect(Lane::Confirmation, 1_000, &Call::Renew(s()));
    let second = ask(&mut copy, 1_100);
    assert!(second > first);
    copy.answer(Lane::Confirmation, 1_200, Answer::Yes);
    let rest = [
        (Call::Acquire(s()), Answer::Yes),
        (Call::Read, Answer::Key(view(10, Some("s"), (7, 1)))),
    ];
    for (call, answer) in &rest {
        copy.call(Lane::Confirmation, 1_200, call, answer.clone());
    }
    let told = copy.contest.confirmation(first);
    assert!(matches!(told, Confirmation::Held(_)), "{told:?}");
    assert_eq!(copy.contest.confirmation(second), Confirmation::Pending);
    copy.expect(Lane::Confirmation, 1_200, &Call::Renew(s()));
    // Where the lock is lost meanwhile, nobody is left waiting.
    copy.answer(
        Lane::Key,
        1_300,
        Answer::Key(view(11, Some("other"), (7, 2))),
    );
    assert_eq!(copy.contest.confirmation(second), Confirmation::Unconfirmed);
    copy.answer(Lane::Confirmation, 1_400, Answer::Yes);
    assert_eq!(copy.contest.confirmation(second), Confirmation::Unconfirmed);
    assert!(!copy.is_good(1_400));
}

#[test]
fn who_leaves_gives_the_lock_back_or_leaves_the_delay_between() {
    let both = [Call::Release(s()), Call::Destroy(s())];
    assert_eq!(Copy::holding().contest.leave(true), both);
    assert_eq!(Copy::holding().contest.leave(false), both[1..]);
    assert_eq!(Copy::new().contest.leave(true), []);
    let mut copy = Copy::holding();
    copy.contest.stop();
    for lane in Lane::ALL {
        copy.expect_none(lane, 5_000);
    }
    let now = copy.now(5_000);
    assert_eq!(copy.contest.ask(now), None);
    assert_eq!(copy.contest.leave(true), both);
    assert_eq!(copy.contest.take_changes(), [Change::Released]);
    assert_eq!(copy.contest.held(), None);
}

/// Numbers that depend on a seed alone.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// What came of each seed; which one it was that panicked is told.
pub(super) fn each_seed<Seen>(seeds: u64, run: impl Fn(u64) -> Seen) -> impl Iterator<Item = Seen> {
    (0..seeds).map(move |seed| {
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        seen.unwrap_or_else(|_| panic!("seed {seed}"))
    })
}

mod random {
    //! Copies that pass, act, freeze, are suspended, killed, ended and cut off, around a model of Consul.

    use std::collections::BTreeMap;

    use super::*;

    /// The step of the model's time, in milliseconds.
    const STEP: u64 = 100;

    /// When trouble ends.
    const CALM: u64 = 240_000;

    /// When all is over: a minute for the one that cannot take the lock, twice TTL, lock-delay and some calls later, and the
    /// longest for which that one stays away.
    const END: u64 = CALM + 120_000 + 300_000;

    const COPIES: usize = 3;

    /// Consul's side: its sessions with when they expire, and the key.
    struct Consul {
        sessions: BTreeMap<String, u64>,
        opened: u64,
        index: u64,
        key: Option<(Option<String>, LockIdentity)>,
        delayed_until: u64,
        lock_delay: u64,
        away_until: u64,
    }

    impl Consul {
        fn view(&self) -> KeyView {
            KeyView {
                index: self.index,
                entry: self.key.clone().map(|(session, lock)| Entry {
                    value: session.clone().unwrap_or_default(),
                    session,
                    lock,
                }),
                shards: Vec::new(),
            }
        }

        fn step(&mut self, at: u64) {
            let over = self.sessions.iter().find(|(_, expires)| **expires <= at);
            if let Some(id) = over.map(|(id, _)| id.clone()) {
                self.end(&id, at);
            }
        }

        fn end(&mut self, id: &str, at: u64) {
            self.sessions.remove(id);
            if let Some((session, _)) = &mut self.key
                && session.as_deref() == Some(id)
            {
                *session = None;
                self.index += 1;
                self.delayed_until = at + self.lock_delay;
            }
        }

        fn renew(&mut self, id: &str, at: u64, chance: &mut Chance) {
            let life = 15_000 + chance.below(15_000);
            self.sessions.insert(id.to_owned(), at + life);
        }

        /// `None`: the answer comes later.
        fn take(
            &mut self,
            call: &Call,
            waited: u64,
            at: u64,
            chance: &mut Chance,
        ) -> Option<Answer> {
            if at < self.away_until {
                return Some(Answer::Failed);
            }
            Some(match call {
                Call::Register => Answer::Yes,
                Call::Open => {
                    self.opened += 1;
                    let id = format!("session {}", self.opened);
                    self.renew(&id, at, chance);
                    Answer::Opened(id)
                }
                Call::Renew(id) if !self.sessions.contains_key(id) => Answer::Gone,
                Call::Renew(id) => {
                    self.renew(id, at, chance);
                    Answer::Yes
                }
                Call::Destroy(id) => {
                    self.end(id, at);
                    Answer::Yes
                }
                Call::Read => Answer::Key(self.view()),
                Call::Await(index) if *index == self.index && waited < 20_000 => return None,
                Call::Await(_) => Answer::Key(self.view()),
                Call::Acquire(id) if !self.sessions.contains_key(id) => Answer::Gone,
                Call::Acquire(id) => self.acquire(id, at),
                Call::Release(id) => match &mut self.key {
                    Some((session, _)) if session.as_ref() == Some(id) => {
                        *session = None;
                        self.index += 1;
                        Answer::Yes
                    }
                    _ => Answer::No,
                },
                Call::OpenCommon
                | Call::AcquireShard(..)
                | Call::ReleaseShard(..)
                | Call::Members => unreachable!("there are no shards"),
            })
        }

        fn acquire(&mut self, id: &str, at: u64) -> Answer {
            match &mut self.key {
                Some((Some(holder), _)) if holder == id => return Answer::Yes,
                Some((Some(_), _)) => return Answer::No,
                _ if at < self.delayed_until => return Answer::No,
                Some((session, lock)) => {
                    *session = Some(id.to_owned());
                    lock.locked += 1;
                    self.index += 1;
                }
                None => {
                    self.index += 1;
                    let lock = LockIdentity {
                        created: self.index,
                        locked: 1,
                    };
                    self.key = Some((Some(id.to_owned()), lock));
                }
            }
            Answer::Yes
        }
    }

    /// A call on its way.
    struct Sent {
        call: Call,
        arrives: u64,
        arrived: Option<u64>,
        answer: Option<(u64, Answer)>,
        /// Whether the copy still waits for it, in which lane, and by its own clock until when.
        waits: Option<(usize, Lane, u64)>,
    }

    struct Pass {
        term: super::super::Term,
        asks_at: u64,
        asked: Option<u64>,
        writes_left: u64,
        next_write: u64,
    }

    struct Member {
        copy: Copy,
        /// By how much its monotonic clock is behind.
        blind: u64,
        /// Where that stands still while its machine is suspended.
        suspended: Option<u64>,
        frozen_until: u64,
        cut_off_until: u64,
        starts_at: Option<u64>,
        pass: Option<Pass>,
        /// Until when the last of its writes is under way.
        writing_until: u64,
    }

    impl Member {
        fn own(&self, at: u64) -> u64 {
            self.suspended.unwrap_or(at - self.blind)
        }

        /// The suspension is over: the wall clock has gone on alone.
        fn resume(&mut self, at: u64) {
            if let Some(own) = self.suspended.take_if(|_| at >= self.frozen_until) {
                self.blind = at - own;
                self.copy.ahead = i64::try_from(self.blind).expect("small");
            }
        }

        fn is_awake(&self, at: u64) -> bool {
            self.starts_at.is_none() && at >= self.frozen_until
        }

        fn start(&mut self, at: u64) {
            self.starts_at = None;
            self.pass = None;
            let own = self.own(at);
            let clocks = self.copy.clocks;
            let ahead = i64::try_from(self.blind).expect("small");
            let contest = Contest::new(clocks.at(own, ahead));
            self.copy = Copy {
                contest,
                clocks,
                ahead,
            };
        }
    }

    /// What a seed came to.
    #[derive(Debug, Default, PartialEq)]
    struct Tally {
        writes: u64,
        hand_overs: u64,
        releases: u64,
        losses: u64,
        refused: u64,
    }

    struct World {
        chance: Chance,
        consul: Consul,
        members: Vec<Member>,
        sent: Vec<Sent>,
        /// Who wrote last and when that began.
        last_write: Option<(usize, u64)>,
        released: bool,
        /// Whose session each was that a copy has left.
        leaving: BTreeMap<String, usize>,
        /// Whether the last writer has ended its session since, without giving the lock back.
        destroyed: bool,
        /// What must be between writes of different copies.
        apart: u64,
        by_hand: bool,
        /// Who can neither take nor confirm the lock when trouble has ended, though all else succeeds.
        hobbled: Option<usize>,
        tally: Tally,
    }

    impl World {
        fn new(seed: u64) -> Self {
            let mut chance = Chance(seed);
            // Blind time counts to neither side: 2 s of it go unnoticed.
            let (lock_delay, apart) = if chance.once_in(4) {
                (0, 3_000)
            } else {
                (15_000, 18_000)
            };
            let member = |_| Member {
                copy: Copy::new(),
                blind: 0,
                suspended: None,
                frozen_until: 0,
                cut_off_until: 0,
                starts_at: None,
                pass: None,
                writing_until: 0,
            };
            Self {
                consul: Consul {
                    sessions: BTreeMap::new(),
                    opened: 0,
                    index: 1,
                    key: None,
                    delayed_until: 0,
                    lock_delay,
                    away_until: 0,
                },
                members: (0..COPIES).map(member).collect(),
                sent: Vec::new(),
                last_write: None,
                released: false,
                leaving: BTreeMap::new(),
                destroyed: false,
                apart,
                by_hand: chance.once_in(5),
                hobbled: chance.once_in(4).then_some(0),
                chance,
                tally: Tally::default(),
            }
        }

        fn send(&mut self, who: usize, lane: Option<Lane>, call: Call, at: u64) {
            let limit = match call {
                Call::Await(_) => WAIT_LIMIT,
                _ => CALL_LIMIT,
            };
            let limit = u64::try_from(limit.as_millis()).expect("small");
            let member = &self.members[who];
            let is_lost = at < member.cut_off_until && !self.chance.once_in(3);
            let late = if self.chance.once_in(20) && at < CALM {
                6_000
            } else {
                200
            };
            let delay = self.chance.below(late);
            self.sent.push(Sent {
                call,
                arrives: if is_lost { u64::MAX } else { at + delay },
                arrived: None,
                answer: None,
                waits: lane.map(|lane| (who, lane, member.own(at) + limit)),
            });
        }

        fn deliver(&mut self, at: u64) {
            let mut index = 0;
            while index < self.sent.len() {
                let sent = &mut self.sent[index];
                if sent.arrives <= at && sent.answer.is_none() {
                    let arrived = *sent.arrived.get_or_insert(at);
                    let hobbled = self.hobbled.filter(|_| at >= CALM);
                    let is_refused = matches!(sent.call, Call::Acquire(_))
                        && hobbled.is_some_and(|who| sent.waits.is_some_and(|(by, ..)| by == who));
                    let answer = if is_refused {
                        Some(Answer::Failed)
                    } else {
                        self.consul
                            .take(&sent.call, at - arrived, at, &mut self.chance)
                    };
                    if let Some(answer) = answer {
                        if let Call::Release(id) = &sent.call
                            && answer == Answer::Yes
                        {
                            let by = self.leaving.get(id).copied();
                            let last = self.last_write.map(|(last, _)| last);
                            self.released |= by.is_some() && by == last;
                            self.tally.releases += 1;
                        }
                        let who = sent.waits.map(|(who, ..)| who);
                        let cut_off = who.map_or(0, |who| self.members[who].cut_off_until);
                        let is_lost = at < cut_off && !self.chance.once_in(3);
                        let back = at + self.chance.below(200);
                        sent.answer = Some((if is_lost { u64::MAX } else { back }, answer));
                    }
                }
                let is_over = |sent: &Sent| {
                    let answered = sent.answer.as_ref().is_some_and(|(back, _)| *back <= at);
                    let (who, _, until) = sent.waits?;
                    let member = &self.members[who];
                    let ended = answered || member.own(at) >= until;
                    (ended && member.is_awake(at)).then_some((answered, who))
                };
                if let Some((answered, who)) = is_over(&self.sent[index]) {
                    let sent = &mut self.sent[index];
                    let lane = sent
                        .waits
                        .take()
                        .map(|(_, lane, _)| lane)
                        .expect("it waits");
                    let answer = match &sent.answer {
                        Some((_, answer)) if answered => answer.clone(),
                        _ => Answer::Failed,
                    };
                    let own = self.members[who].own(at);
                    self.members[who].copy.answer(lane, own, answer);
                }
                let sent = &self.sent[index];
                // What nobody waits for may still arrive.
                if sent.waits.is_none() && (sent.answer.is_some() || sent.arrives == u64::MAX) {
                    self.sent.swap_remove(index);
                } else {
                    index += 1;
                }
            }
        }

        fn forget_calls_of(&mut self, who: usize, lane: Option<Lane>) {
            for sent in &mut self.sent {
                let is_it = |(whose, of, _): (usize, Lane, u64)| {
                    whose == who && lane.is_none_or(|lane| lane == of)
                };
                if sent.waits.is_some_and(is_it) {
                    sent.waits = None;
                }
            }
        }

        fn trouble(&mut self, at: u64) {
            let chance = &mut self.chance;
            let who = usize::try_from(chance.below(COPIES as u64)).expect("small");
            let length = 500 + chance.below(60_000);
            let kind = chance.below(9);
            let member = &mut self.members[who];
            if !member.is_awake(at) {
                return;
            }
            match kind {
                0 => member.frozen_until = at + length,
                1 => {
                    member.suspended = Some(member.own(at));
                    member.frozen_until = at + length;
                }
                2 | 3 => member.cut_off_until = at + length,
                4 => self.consul.away_until = at + length / 3,
                5 => {
                    member.starts_at = Some(at + length / 4);
                    self.forget_calls_of(who, None);
                }
                6 | 8 => self.leave(who, at, length),
                7 if self.by_hand => {
                    self.consul.key = None;
                    self.consul.index += 1;
                }
                _ => {}
            }
        }

        fn leave(&mut self, who: usize, at: u64, length: u64) {
            let member = &mut self.members[who];
            let is_clean = at >= member.writing_until && !self.chance.once_in(4);
            let calls = member.copy.contest.leave(is_clean);
            member.starts_at = Some(at + 1_000 + length / 4);
            self.destroyed |= !is_clean && self.last_write.is_some_and(|(last, _)| last == who);
            self.forget_calls_of(who, None);
            for call in calls {
                if let Call::Release(id) = &call {
                    self.leaving.insert(id.clone(), who);
                }
                self.send(who, None, call, at);
            }
        }

        fn turn(&mut self, who: usize, at: u64) {
            if self.members[who].starts_at.is_some_and(|start| start <= at) {
                self.members[who].start(at);
            }
            if !self.members[who].is_awake(at) {
                return;
            }
            let own = self.members[who].own(at);
            let now = self.members[who].copy.now(own);
            if self.members[who].copy.contest.waits_in_vain(now) {
                self.forget_calls_of(who, Some(Lane::Key));
                self.members[who].copy.contest.dropped(Lane::Key);
            }
            for lane in Lane::ALL {
                if let Some(call) = self.members[who].copy.contest.begin(lane, now) {
                    self.send(who, Some(lane), call, at);
                }
            }
            for change in self.members[who].copy.contest.take_changes() {
                match change {
                    Change::Acquired => self.tally.hand_overs += 1,
                    Change::Lost(_) => self.tally.losses += 1,
                    _ => {}
                }
            }
            self.pass(who, at, now);
        }

        fn pass(&mut self, who: usize, at: u64, now: Now) {
            let chance = &mut self.chance;
            let member = &mut self.members[who];
            let contest = &mut member.copy.contest;
            let held = contest.held().filter(|held| held.is_good(now));
            let Some(pass) = &mut member.pass else {
                if let Some(held) = held.filter(|_| chance.once_in(10)) {
                    member.pass = Some(Pass {
                        term: held.term,
                        asks_at: at + chance.below(3_000),
                        asked: None,
                        writes_left: 1 + chance.below(8),
                        next_write: 0,
                    });
                }
                return;
            };
            let Some(number) = pass.asked else {
                if at >= pass.asks_at {
                    pass.asked = contest.ask(now);
                    if pass.asked.is_none() {
                        member.pass = None;
                    }
                }
                return;
            };
            let is_held = held.map(|held| held.term) == Some(pass.term);
            match contest.confirmation(number) {
                Confirmation::Pending => return,
                Confirmation::Held(term) if term == pass.term && is_held => {}
                _ => {
                    self.tally.refused += 1;
                    member.pass = None;
                    return;
                }
            }
            if at < pass.next_write {
                return;
            }
            pass.next_write = at + chance.below(4_000);
            pass.writes_left -= 1;
            let is_last = pass.writes_left == 0;
            member.writing_until = member.writing_until.max(at + chance.below(15_000));
            if is_last {
                member.pass = None;
            }
            self.wrote(who, at);
        }

        fn wrote(&mut self, who: usize, at: u64) {
            self.tally.writes += 1;
            if let Some((before, begun)) = self.last_write.filter(|(before, _)| *before != who) {
                let others = self.members[before].writing_until;
                let apart = if self.destroyed {
                    self.consul.lock_delay
                } else {
                    self.apart
                };
                assert!(
                    self.by_hand || self.released || at >= begun + apart,
                    "at {at} copy {who} wrote, {} ms after copy {before}",
                    at - begun
                );
                assert!(
                    self.by_hand || !self.released || at >= others,
                    "at {at} copy {who} wrote beside {before}, which gave the lock back too early"
                );
            }
            if self.last_write.is_none_or(|(before, _)| before != who) {
                self.released = false;
                self.destroyed = false;
            }
            self.last_write = Some((who, at));
        }

        fn holders(&self, at: u64) -> Vec<usize> {
            let holds = |who: &usize| {
                let member = &self.members[*who];
                member.is_awake(at) && member.copy.is_good(member.own(at))
            };
            (0..COPIES).filter(holds).collect()
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
                for member in &mut self.members {
                    member.resume(at);
                }
                self.consul.step(at);
                self.deliver(at);
                for who in 0..COPIES {
                    self.turn(who, at);
                }
                let holders = self.holders(at);
                assert!(
                    self.by_hand || holders.len() < 2,
                    "at {at} {holders:?} may write"
                );
            }
            let holders = self.holders(END - STEP);
            assert_eq!(holders.len(), 1, "one holds it in the end");
            let is_hobbled = |who: &usize| self.hobbled == Some(*who);
            assert!(
                !holders.iter().any(is_hobbled),
                "it is left to one that can"
            );
            self.tally
        }
    }

    #[test]
    fn no_two_copies_write_whatever_happens_to_them_and_one_does_in_the_end() {
        let mut sum = Tally::default();
        for tally in each_seed(300, |seed| World::new(seed).run()) {
            sum.writes += tally.writes;
            sum.hand_overs += tally.hand_overs;
            sum.releases += tally.releases;
            sum.losses += tally.losses;
            sum.refused += tally.refused;
        }
        // Otherwise it proves nothing.
        assert!(sum.writes > 5_000, "{sum:?}");
        assert!(sum.hand_overs > 1_000, "{sum:?}");
        assert!(sum.releases > 25, "{sum:?}");
        assert!(sum.losses > 500, "{sum:?}");
        assert!(sum.refused > 50, "{sum:?}");
    }
}
