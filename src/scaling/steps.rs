//! What an action comes to if each call works: which machines, which regions, in their order.

use super::Action;

/// The most machines that are named.
const NAMED: usize = 20;

impl Action {
    /// What a pass that must not act says of it: `would create 1 machine like a (in ord)`. Nothing else will say which
    /// machines or regions.
    #[must_use]
    pub fn would(&self) -> String {
        format!("would {self} ({})", self.steps())
    }

    /// The machines or regions that it would take, first to last, as one line: `in ord, iad`.
    #[must_use]
    pub fn steps(&self) -> String {
        match self {
            Self::Create {
                count, placement, ..
            } => {
                let mut placement = placement.clone();
                let regions = (0..*count).map_while(|_| placement.next_region());
                format!("in {}", list(*count, regions))
            }
            Self::Destroy { victims } => {
                let count = super::count(victims.len());
                let victims = victims.iter().map(|victim| {
                    let first = if victim.running {
                        " (stopped first)"
                    } else {
                        ""
                    };
                    format!("{}{first}", victim.id)
                });
                list(count, victims)
            }
            Self::Start { candidates, count } | Self::Stop { candidates, count } => {
                list(*count, candidates.iter().cloned())
            }
        }
    }
}

/// The first of `count` names, and how many more there are.
fn list(count: u32, names: impl Iterator<Item = String>) -> String {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let named: Vec<String> = names.take(count.min(NAMED)).collect();
    let more = count - named.len();
    let and_more = if named.len() == NAMED && more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{and_more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::{
        Policy, Victim,
        tests::fleet::{Fleet, created},
    };

    #[test]
    fn machines_and_regions_are_named_in_order() {
        let ids = |count: u32| (0..count).map(|number| format!("m{number}")).collect();
        let victim = |id: &str, running| Victim {
            id: id.to_owned(),
            instance_id: String::new(),
            running,
        };
        let cases = [
            (
                Action::Start {
                    candidates: ids(5),
                    count: 2,
                },
                "m0, m1",
            ),
            (
                Action::Stop {
                    candidates: ids(1),
                    count: 3,
                },
                "m0",
            ),
            (
                Action::Destroy {
                    victims: vec![victim("b", false), victim("a", true)],
                },
                "b, a (stopped first)",
            ),
            (
                Action::Stop {
                    candidates: ids(30),
                    count: 22,
                },
                "m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15, m16, m17, m18, m19 and 2 more",
            ),
        ];
        for (action, expected) in cases {
            assert_eq!(action.steps(), expected);
        }
        let mut fleet = Fleet::new(Policy {
            regions: vec!["ord".to_owned(), "iad".to_owned()],
            ..Policy::default()
        });
        let pass = fleet.pass(0, created(4, 4), &["a ord started"]);
        let action = pass.plan.action.expect("growth");
        assert_eq!(action.steps(), "in iad, ord, iad");
    }
}
