//! Times and durations: how Go reads them from text, and their methods.
//!
//! The clock is not here: `now()` is an argument of evaluation. Upstream runs in UTC, so a time without a zone is in UTC;
//! other zones come from the zone database in the binary, never from the host.

use jiff::{
    Timestamp, ZonedDateTime,
    civil::{Date, DateTime, Time},
    tz::{Offset, TimeZone},
};

use super::code::Datum;

/// The methods that are supported, of times, durations, weekdays and months.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Nanosecond,
    Weekday,
    YearDay,
    Unix,
    UnixMilli,
    UnixMicro,
    UnixNano,
    Utc,
    In,
    Add,
    Sub,
    After,
    Before,
    Equal,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
    Name,
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A method of a receiver; `argument` is present where the method takes one. `None` if the types do not fit (which the
/// checker excludes) or the result is out of range.
pub(super) fn call(method: Method, receiver: &Datum, argument: Option<&Datum>) -> Option<Datum> {
    match (receiver, argument) {
        (Datum::Time(time), None) => time_part(method, time),
        (Datum::Time(time), Some(Datum::Time(other))) => Some(match method {
            Method::Sub => Datum::Duration(difference(time, other)),
            Method::After => Datum::Bool(time.timestamp() > other.timestamp()),
            Method::Before => Datum::Bool(time.timestamp() < other.timestamp()),
            Method::Equal => Datum::Bool(time.timestamp() == other.timestamp()),
            _ => return None,
        }),
        (Datum::Time(time), Some(Datum::Duration(nanoseconds))) if method == Method::Add => {
            add(time, i128::from(*nanoseconds))
        }
        (Datum::Time(time), Some(Datum::Zone(zone))) if method == Method::In => {
            Some(Datum::Time(Box::new(time.with_time_zone(zone.clone()))))
        }
        (Datum::Duration(nanoseconds), None) => Some(match method {
            Method::Hours => Datum::Float(in_units(*nanoseconds, HOUR)),
            Method::Minutes => Datum::Float(in_units(*nanoseconds, MINUTE)),
            Method::Seconds => Datum::Float(in_units(*nanoseconds, SECOND)),
            Method::Milliseconds => Datum::Int(nanoseconds / 1_000_000),
            Method::Microseconds => Datum::Int(nanoseconds / 1000),
            Method::Nanoseconds => Datum::Int(*nanoseconds),
            _ => return None,
        }),
        (Datum::Weekday(day), None) if method == Method::Name => name(&DAYS, *day),
        (Datum::Month(month), None) if method == Method::Name => name(&MONTHS, month - 1),
        _ => None,
    }
}

fn name(names: &[&str], index: i64) -> Option<Datum> {
    let name = names.get(usize::try_from(index).ok()?)?;
    Some(Datum::Text((*name).into()))
}

fn time_part(method: Method, time: &ZonedDateTime) -> Option<Datum> {
    Some(Datum::Int(match method {
        Method::Year => time.year().into(),
        Method::Month => return Some(Datum::Month(time.month().into())),
        Method::Day => time.day().into(),
        Method::Hour => time.hour().into(),
        Method::Minute => time.minute().into(),
        Method::Second => time.second().into(),
        Method::Nanosecond => time.subsec_nanosecond().into(),
        Method::Weekday => {
            return Some(Datum::Weekday(
                time.weekday().to_sunday_zero_offset().into(),
            ));
        }
        Method::YearDay => time.day_of_year().into(),
        Method::Unix => unix(time, SECOND)?,
        Method::UnixMilli => unix(time, 1_000_000)?,
        Method::UnixMicro => unix(time, 1000)?,
        Method::UnixNano => unix(time, 1)?,
        Method::Utc => return Some(Datum::Time(Box::new(time.with_time_zone(TimeZone::UTC)))),
        _ => return None,
    }))
}

fn unix(time: &ZonedDateTime, unit: i64) -> Option<i64> {
    i64::try_from(time.timestamp().as_nanosecond().div_euclid(unit.into())).ok()
}

/// A duration in a unit, with Go's two roundings: the whole units, and the rest.
fn in_units(nanoseconds: i64, unit: i64) -> f64 {
    (nanoseconds / unit) as f64 + (nanoseconds % unit) as f64 / unit as f64
}

/// The nanoseconds from `earlier` to `time`, held within 64 bits as Go does.
pub(super) fn difference(time: &ZonedDateTime, earlier: &ZonedDateTime) -> i64 {
    let nanoseconds = time.timestamp().as_nanosecond() - earlier.timestamp().as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

/// A time so many nanoseconds later, in the same zone; `None` beyond the year 9999.
pub(super) fn add(time: &ZonedDateTime, nanoseconds: i128) -> Option<Datum> {
    let moved =
        Timestamp::from_nanosecond(time.timestamp().as_nanosecond().checked_add(nanoseconds)?)
            .ok()?;
    Some(Datum::Time(Box::new(
        moved.to_zoned_datetime(time.time_zone().clone()),
    )))
}

/// The time in `text`, in the formats that Go's names `date`, `time`, `date time` and RFC 3339 stand for. Expr reads the
/// formats of RFC 822, 850 and 1123 as well; those are not read here.
pub(super) fn parse_date(text: &str) -> Option<Datum> {
    let time = [date_alone, time_alone, date_and_time, rfc_3339]
        .into_iter()
        .find_map(|format| {
            let mut rest = text.as_bytes();
            let time = format(&mut rest)?;
            rest.is_empty().then_some(time)
        })?;
    Some(Datum::Time(Box::new(time)))
}

fn date_alone(rest: &mut &[u8]) -> Option<ZonedDateTime> {
    in_utc(date(rest)?.to_datetime(Time::midnight()))
}

fn time_alone(rest: &mut &[u8]) -> Option<ZonedDateTime> {
    in_utc(Date::new(0, 1, 1).ok()?.to_datetime(clock(rest)?))
}

fn date_and_time(rest: &mut &[u8]) -> Option<ZonedDateTime> {
    let date = date(rest)?;
    sign(rest, b" ")?;
    while sign(rest, b" ").is_some() {}
    in_utc(date.to_datetime(clock(rest)?))
}

fn rfc_3339(rest: &mut &[u8]) -> Option<ZonedDateTime> {
    let date = date(rest)?;
    sign(rest, b"T")?;
    let time = date.to_datetime(clock(rest)?);
    if sign(rest, b"Z").is_some() {
        return in_utc(time);
    }
    let direction = match sign(rest, b"+-")? {
        b'+' => 1,
        _ => -1,
    };
    let hours = digits(rest, 2, 2)?;
    sign(rest, b":")?;
    let minutes = digits(rest, 2, 2)?;
    if hours > 24 || minutes > 60 {
        return None;
    }
    let offset = Offset::from_seconds(direction * (hours * 60 + minutes) * 60).ok()?;
    offset
        .to_timestamp(time)
        .ok()
        .map(|time| time.to_zoned_datetime(TimeZone::fixed(offset)))
}

fn in_utc(time: DateTime) -> Option<ZonedDateTime> {
    time.to_zoned_datetime(TimeZone::UTC).ok()
}

fn date(rest: &mut &[u8]) -> Option<Date> {
    let year = digits(rest, 4, 4)?;
    sign(rest, b"-")?;
    let month = digits(rest, 2, 2)?;
    sign(rest, b"-")?;
    let day = digits(rest, 2, 2)?;
    Date::new(
        year.try_into().ok()?,
        month.try_into().ok()?,
        day.try_into().ok()?,
    )
    .ok()
}

/// A time of day; the hour may have one digit, and a fraction may follow the seconds, as Go has it.
fn clock(rest: &mut &[u8]) -> Option<Time> {
    let hour = digits(rest, 1, 2)?;
    sign(rest, b":")?;
    let minute = digits(rest, 2, 2)?;
    sign(rest, b":")?;
    let second = digits(rest, 2, 2)?;
    let mut nanosecond = 0;
    if matches!(rest, [b'.' | b',', b'0'..=b'9', ..]) {
        *rest = &rest[1..];
        let mut unit = 100_000_000;
        while let Some(digit) = digits(rest, 1, 1) {
            nanosecond += digit * unit;
            unit /= 10;
        }
    }
    Time::new(
        hour.try_into().ok()?,
        minute.try_into().ok()?,
        second.try_into().ok()?,
        nanosecond,
    )
    .ok()
}

fn sign(rest: &mut &[u8], any_of: &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    any_of.contains(first).then(|| {
        *rest = others;
        *first
    })
}

fn digits(rest: &mut &[u8], least: usize, most: usize) -> Option<i32> {
    let count = rest
        .iter()
        .take(most)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count < least {
        return None;
    }
    let (number, others) = rest.split_at(count);
    *rest = others;
    Some(
        number
            .iter()
            .fold(0, |value, digit| value * 10 + i32::from(digit - b'0')),
    )
}

/// A zone of the database by its name, such as `Europe/Berlin`.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() {
        None
    } else {
        TimeZone::get(name).ok()
    }
}
