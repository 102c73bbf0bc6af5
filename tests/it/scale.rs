//! The blueprint and its kin: what the loop does when nothing goes wrong.

use fly_autoscaler::sim::{MachineState, NewMachine, Operation};

use crate::world::{APP, BLUEPRINT, World};

fn stopped(region: &str) -> NewMachine {
    NewMachine::in_region(region).state(MachineState::Stopped)
}

#[tokio::test(start_paused = true)]
async fn the_blueprint_keeps_one_stopped_machine_spare() {
    let mut world = World::new(BLUEPRINT);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    world.run_for(0).await;
    assert_eq!(world.created(), 2, "the first pass comes at once");
    world.run_for(60).await;
    assert_eq!(world.created(), 2);
    assert_eq!(world.in_state(&MachineState::Stopped), 1);
    assert_eq!(world.writes(), 1, "then nothing is written");
    assert_eq!(
        world.series(r#"fas_reconcile_count{status="create"}"#),
        Some(1.0)
    );
    assert_eq!(
        world.series(r#"fas_machine_create_count{status="ok"}"#),
        Some(1.0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_blueprint_never_exceeds_ten() {
    let mut world = World::new(BLUEPRINT);
    world
        .platform()
        .add_machines(APP, 10, &NewMachine::in_region("ord"))
        .unwrap();
    world.run_for(120).await;
    assert_eq!(world.created(), 10);
    assert_eq!(world.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn surplus_stopped_machines_are_destroyed_but_for_the_spare() {
    let mut world = World::new(BLUEPRINT);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    world
        .platform()
        .add_machines(APP, 4, &stopped("ord"))
        .unwrap();
    world.run_for(60).await;
    assert_eq!(world.created(), 2);
    assert_eq!(world.in_state(&MachineState::Stopped), 1);
    for request in world.platform().requests_for(Operation::Destroy) {
        assert!(!request.query.contains("force"), "{}", request.query);
        assert!(!request.query.contains("kill"), "{}", request.query);
    }
}

#[tokio::test(start_paused = true)]
async fn a_steady_pass_costs_one_query_and_one_list() {
    let mut world = World::new(BLUEPRINT);
    world
        .platform()
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    world.platform().add_machine(APP, stopped("ord")).unwrap();
    world.run_for(14).await;
    assert_eq!(world.requests(Operation::Query), 1);
    assert_eq!(world.requests(Operation::List), 1);
    assert_eq!(world.platform().requests().total(), 2);
    world.run_for(15).await;
    assert_eq!(world.platform().requests().total(), 4);
}
