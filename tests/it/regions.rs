//! Regions in which creating never works: the others get their turn, and no machine too many comes of it.

use std::sync::Arc;

use bytes::Bytes;
use fly_autoscaler::{
    sim::{NewMachine, Simulator},
    transport::{Transport, TransportError},
};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};

use crate::world::{APP, SimTransport, World};

const CREATED: (&str, &str) = ("FAS_CREATED_MACHINE_COUNT", "queue_depth");

/// A platform whose creates in some regions end in a server's error, after they took effect or instead.
struct Broken {
    regions: &'static [&'static str],
    takes_effect: bool,
    platform: SimTransport,
}

impl Broken {
    fn is_meant(&self, request: &Request<Bytes>) -> bool {
        let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap_or_default();
        request.method() == Method::POST
            && request.uri().path().ends_with("/machines")
            && self
                .regions
                .iter()
                .any(|region| body["region"].as_str() == Some(region))
    }
}

impl Transport for Broken {
    fn exchange(
        &self,
        request: Request<Bytes>,
        body_limit: usize,
    ) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        if !self.is_meant(&request) {
            return self.platform.exchange(request, body_limit);
        }
        Box::pin(async move {
            if self.takes_effect {
                self.platform.exchange(request, body_limit).await?;
            }
            let error = Response::builder().status(503).body(Bytes::new());
            Ok(error.unwrap())
        })
    }
}

fn start(world: &mut World, regions: &'static [&'static str], takes_effect: bool) {
    let simulator: Simulator = world.simulator.clone();
    world.start_over(Arc::new(Broken {
        regions,
        takes_effect,
        platform: SimTransport(simulator),
    }));
}

#[tokio::test(start_paused = true)]
async fn regions_that_always_fail_leave_growth_to_the_others() {
    let cases: [(&str, &[&str], u64); 3] = [
        ("ams,iad", &["ams"], 180),
        ("ams,cdg,iad", &["ams", "cdg"], 360),
        // Nothing is listed: the machines' own region fails, and the group has one elsewhere.
        ("", &["ord"], 180),
    ];
    for (listed, broken, within) in cases {
        for takes_effect in [false, true] {
            let mut world = World::queue(6.0, &[CREATED, ("FAS_REGIONS", listed)]);
            for region in ["ord", "iad"] {
                let machine = NewMachine::in_region(region);
                world.platform().add_machine(APP, machine).unwrap();
            }
            start(&mut world, broken, takes_effect);
            for _ in 0..within / 15 {
                world.run_for(15).await;
                assert!(world.created() <= 6, "{listed}: more than the target");
            }
            assert_eq!(world.created(), 6, "{listed}, takes effect: {takes_effect}");
        }
    }
}
