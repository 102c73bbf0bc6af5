//! What is decided in a pass, without I/O: expressions, plans, and the list of machines before them.

use std::time::Instant;

use bytes::Bytes;
use fly_autoscaler::{
    expr::{Expression, Names, Values},
    machines::parse_machines,
    scaling::{
        Decision, Machine, Memory, Now, Planner, Policy, ReleaseView, State, Target, Targets, limit,
    },
    sim::{MachineState, Options, Simulator},
};
use jiff::Timestamp;

use crate::{
    daemon::{add_app, ask},
    measure::Table,
};

/// Expressions from the shortest to the longest that is likely.
const EXPRESSIONS: [(&str, &str); 4] = [
    ("clamp", "min(50, ceil(queue_depth / 10))"),
    ("arithmetic", "queue_depth * 60 / 7 + cpu * 1.5"),
    ("condition", "cpu > 0.5 and queue_depth > 100 ? 5 : 1"),
    (
        "schedule",
        "now().In(timezone('Europe/Berlin')).Hour() in 8..19 ? max(3, ceil(queue_depth / 10)) : 1",
    ),
];

pub(crate) fn measure(table: &mut Table) {
    expressions(table);
    plans(table);
    lists(table);
}

/// Compiled once at start-up, evaluated in every pass.
fn expressions(table: &mut Table) {
    let names = Names::new(["queue_depth", "cpu"]);
    let compile = |source| Expression::compile(source, &names).expect("the expression compiles");
    for (name, source) in EXPRESSIONS {
        let name = format!("expression/compile/{name}");
        table.time(&name, None, || source, compile);
    }
    let mut values = Values::new(&names);
    values.set("queue_depth", Some(123.0));
    values.set("cpu", Some(0.7));
    for (name, source) in EXPRESSIONS {
        let name = format!("expression/evaluate/{name}");
        let expression = compile(source);
        table.time(
            &name,
            None,
            || &values,
            |values| expression.evaluate(values, Timestamp::UNIX_EPOCH),
        );
    }
}

/// From the machines of a list to a plan, in pass after pass: one in which there is nothing to do, and one in which half of
/// all machines are to stop.
fn plans(table: &mut Table) {
    for machines in [10, 1_000, 100_000] {
        let listed: Vec<Machine> = (0..machines).map(machine).collect();
        let steady = Targets {
            created: Target::of(machines, machines),
            started: Target::Unset,
        };
        let stop = Targets {
            created: Target::Unset,
            started: Target::of(0, machines / 2),
        };
        for (what, targets, decision) in [
            ("steady", steady, Decision::NoScale),
            ("stop", stop, Decision::Stop),
        ] {
            let policy = Policy::default();
            let mut memory = Memory::default();
            let mut now = Now {
                monotonic: Instant::now(),
                wall: Timestamp::UNIX_EPOCH,
            };
            let plan = |listed: Vec<Machine>| {
                now.monotonic += policy.interval;
                now.wall += policy.interval;
                let observed = memory.note_list(listed, &policy, now);
                let limited = limit(targets, &observed, &policy, &mut memory, now);
                let planner = Planner {
                    observed: &observed,
                    policy: &policy,
                    memory: &memory,
                    release: ReleaseView::Known(None),
                    now,
                };
                let plan = planner.plan(&limited);
                assert_eq!(plan.decision(), decision, "{}", plan.reason);
                (plan, observed)
            };
            let name = format!("plan/{what}/{machines}");
            table.time(&name, Some(machines), || listed.clone(), plan);
        }
    }
}

/// One of many machines that run, in a few regions.
fn machine(number: u32) -> Machine {
    let region = ["ams", "fra", "iad", "nrt"][(number % 4) as usize];
    Machine {
        instance_id: format!("01J{number:023}"),
        release: Some(1),
        ..Machine::new(format!("{number:014x}"), region, State::Started)
    }
}

/// An app's list of machines, from the bytes of the answer.
fn lists(table: &mut Table) {
    for machines in [10, 1_000, 10_000] {
        let name = format!("list/{machines}");
        if table.wants(&name) {
            let simulator = Simulator::new(&Options::default());
            add_app(&simulator, machines, &MachineState::Started);
            let list = ask(&simulator, "/v1/apps/app/machines").into_body();
            let parse = |list: &Bytes| parse_machines(list).expect("a list of machines");
            table.time(&name, Some(machines), || &list, parse);
        }
    }
}
