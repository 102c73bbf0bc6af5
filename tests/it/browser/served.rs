//! An in-process world whose port listens: what happens there happens when a test says so, and time stands still between.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use fly_autoscaler::{
    admin::{self, Admin},
    sim::NewMachine,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    time::{Instant, advance},
};

use crate::world::{APP, World};

/// A world and its port; dropping it ends both.
pub(super) struct Served {
    admin: Admin,
    /// What is still to happen in the world, each with the seconds that pass then.
    events: mpsc::Sender<(Event, u64)>,
    /// The world's time after each.
    times: mpsc::Receiver<Instant>,
    now: watch::Sender<Instant>,
    port: u16,
    serving: Option<JoinHandle<()>>,
}

type Event = Box<dyn FnOnce(&mut World) + Send>;

impl Served {
    /// Makes a world, lets it run for so long, and serves what it came to.
    pub(super) fn after(seconds: u64, make: impl FnOnce() -> World + Send + 'static) -> Self {
        let (events, to_happen) = mpsc::channel::<(Event, u64)>();
        let (happened, times) = mpsc::channel();
        let (made, admin) = mpsc::channel();
        // The world keeps to its thread, and its time passes only while it is driven.
        thread::spawn(move || {
            let runtime = paused();
            let mut world = runtime.block_on(async { make() });
            made.send(world.admin.clone()).unwrap();
            for (event, seconds) in to_happen {
                event(&mut world);
                let now = runtime.block_on(async {
                    world.run_for(seconds).await;
                    Instant::now()
                });
                happened.send(now).unwrap();
            }
        });
        let mut served = Self {
            admin: admin.recv().unwrap(),
            events,
            times,
            now: watch::Sender::new(Instant::now()),
            port: 0,
            serving: None,
        };
        served.go_on(seconds, |_| {});
        served.answer();
        served
    }

    /// Lets something happen, and the world run for so long afterwards.
    pub(super) fn go_on(&self, seconds: u64, event: impl FnOnce(&mut World) + Send + 'static) {
        self.events.send((Box::new(event), seconds)).unwrap();
        self.now.send_replace(self.times.recv().unwrap());
    }

    /// Begins to answer, on the port that it had.
    pub(super) fn answer(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.port = listener.local_addr().unwrap().port();
        let router = admin::router(self.admin.clone());
        let mut now = self.now.subscribe();
        self.serving = Some(thread::spawn(move || {
            // With its clock paused too and no timer that could move it, it shows the time of the world.
            paused().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let serving = axum::serve(listener, router).into_future();
                tokio::select! {
                    served = serving => served.unwrap(),
                    () = follow(&mut now) => {}
                }
            });
        }));
    }

    /// Ends answering, in the middle of whatever it may be.
    pub(super) fn fall_silent(&mut self) {
        // It ends where nobody tells the time.
        let now = *self.now.borrow();
        self.now = watch::Sender::new(now);
        if let Some(serving) = self.serving.take() {
            serving.join().unwrap();
        }
    }

    /// Where its pages are.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.fall_silent();
    }
}

/// A world with one app and one machine of it, which wants three.
pub(super) fn queue() -> World {
    let world = World::queue(3.0, &[("FAS_CREATED_MACHINE_COUNT", "queue_depth")]);
    let machine = NewMachine::in_region("ord");
    world.platform().add_machine(APP, machine).unwrap();
    world
}

/// A world with so many apps, `tenant-0000` and so on with `suffix` behind it, that want and have 1, 2 or 3 machines by turns.
pub(super) fn tenants(count: u16, suffix: &str) -> World {
    let settings = [
        ("FAS_APP_NAME", "tenant-*"),
        ("FAS_ORG", "acme"),
        ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
    ];
    let world = World::queue(0.0, &settings);
    for number in 0..count {
        let app = format!("tenant-{number:04}{suffix}");
        let wanted = number % 3 + 1;
        let mut platform = world.platform();
        platform.add_app(&app, "acme");
        platform.set_gauge(&app, "queue_depth", Some(f64::from(wanted)));
        for _ in 0..wanted {
            let machine = NewMachine::in_region("ord");
            platform.add_machine(&app, machine).unwrap();
        }
    }
    world
}

/// Sets the runtime's clock to what it is told until nobody tells.
async fn follow(now: &mut watch::Receiver<Instant>) {
    loop {
        let to = *now.borrow_and_update();
        advance(to.saturating_duration_since(Instant::now())).await;
        if now.changed().await.is_err() {
            return;
        }
    }
}

fn paused() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}
