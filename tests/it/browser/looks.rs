//! Who can read the page and work with it: by dark or by daylight, on a telephone, without a mouse.

use fly_autoscaler::sim::{Fault, MachineState, NewMachine, Operation};
use thirtyfour::Key;

use super::{
    chromium::Chromium,
    served::{Served, tenants},
};
use crate::world::{APP, World};

/// The least contrast between text and what is behind it, by WCAG 2.2, 1.4.3.
const CONTRAST: f64 = 4.5;

/// Every text that is shown with less contrast than `least`, and how much it has.
const PALE: &str = "((least) => {
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = ([red, green, blue]) => {
        const [r, g, b] = [red, green, blue].map((one) => {
            const share = one / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
        for (let at = one; at; at = at.parentElement) {
            const colour = channels(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const pale = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
        const one = text.parentElement;
        if (!text.data.trim() || !one.checkVisibility()) continue;
        const style = getComputedStyle(one);
        const ink = one instanceof SVGElement ? style.fill : style.color;
        const [light, dark] = [luminance(channels(ink)), luminance(behind(one))].sort((a, b) => b - a);
        const contrast = (light + 0.05) / (dark + 0.05);
        if (contrast < least) pale.push([text.data, contrast]);
    }
    return pale;
})";

/// A world in which something of everything is on the page.
fn troubled() -> World {
    let world = World::queue(
        3.0,
        &[
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
            ("FAS_DRY_RUN", "true"),
        ],
    );
    let mut platform = world.platform();
    for state in [
        MachineState::Started,
        MachineState::Stopped,
        MachineState::Failed,
        MachineState::Starting,
    ] {
        for region in ["ord", "ams"] {
            let machine = NewMachine::in_region(region).state(state.clone());
            platform
                .add_machine(APP, machine.metadata("fas_protect", "true"))
                .unwrap();
        }
    }
    drop(platform);
    world
}

/// A page of a fleet that has had all kinds of trouble.
fn fleet_page() -> Served {
    let served = Served::after(3 * 3600, troubled);
    served.go_on(60, |world| {
        world
            .platform()
            .add_fault(Fault::status(500).on(Operation::Query));
    });
    served
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn a_fleet_is_readable_by_dark_and_by_daylight() {
    is_readable(&fleet_page()).await;
}

/// A copy that stands by behind another one, and to which Consul does not answer any more.
fn standby() -> World {
    let lock = "http://:5e5a3e00-1111-4222-8333-444455556666@simulator/scaler-23sxdf/";
    let world = World::queue(
        3.0,
        &[
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
            ("FLY_CONSUL_URL", lock),
        ],
    );
    let mut platform = world.platform();
    platform
        .add_machine(APP, NewMachine::in_region("ord"))
        .unwrap();
    platform.consul_mut().lock_key(
        "scaler-23sxdf/fly-autoscaler/app/lock",
        r#"{"machine":"148e","region":"ord","version":"0.1.0","apps":"my-target-app"}"#,
    );
    drop(platform);
    world
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn a_standby_without_consul_is_readable_by_dark_and_by_daylight() {
    let served = Served::after(60, standby);
    served.go_on(60, |world| {
        world.platform().consul_mut().set_leader(false);
    });
    is_readable(&served).await;
    fits(&served, &["/"]).await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn the_list_is_readable_by_dark_and_by_daylight() {
    is_readable(&Served::after(240, || tenants(30, ""))).await;
}

async fn is_readable(served: &Served) {
    let chromium = Chromium::open().await;
    let mut colours = Vec::new();
    for scheme in ["light", "dark"] {
        chromium.prefer(scheme).await;
        chromium.visit(&format!("{}/", served.address())).await;
        chromium
            .run("for (const one of document.querySelectorAll('details')) one.open = true;")
            .await;
        let pale: Vec<(String, f64)> = chromium.value(&format!("{PALE}({CONTRAST})")).await;
        assert!(pale.is_empty(), "{scheme}: {pale:#?}");
        let style = "(({ backgroundColor, color }) => [backgroundColor, color])(getComputedStyle(document.body))";
        colours.push(chromium.value::<(String, String)>(style).await);
    }
    let [light, dark] = &*colours else {
        unreachable!()
    };
    assert!(light.0 != dark.0 && light.1 != dark.1, "{colours:?}");
    chromium.close(&served.address()).await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn a_fleet_fits_a_telephone() {
    fits(&fleet_page(), &["/", "/app/nobody"]).await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn a_list_of_long_names_fits_a_telephone() {
    let long = "-of-the-north-european-branch-office-in-rotterdam";
    let served = Served::after(240, move || tenants(300, long));
    fits(&served, &["/", "/?sort=name&page=2"]).await;
}

/// Nothing is wider than the window, and no part of the page than its place.
async fn fits(served: &Served, paths: &[&str]) {
    let chromium = Chromium::open().await;
    chromium.width(360).await;
    for path in paths {
        chromium.visit(&format!("{}{path}", served.address())).await;
        let wide: Vec<String> = chromium
            .value(
                "[document.documentElement, ...document.querySelectorAll('main, main *')]
                    .filter((one) => one.checkVisibility() && !(one instanceof SVGElement))
                    .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
                        || one.getBoundingClientRect().right > 360.5)
                    .map((one) => `${one.outerHTML.slice(0, 200)}: ${one.scrollWidth} > ${one.clientWidth}`)",
            )
            .await;
        assert!(wide.is_empty(), "{path}: {wide:#?}");
    }
    let missing = |message: &str| message.starts_with("network: ") && message.contains("404");
    chromium.close_after(&served.address(), missing).await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn a_fleet_is_operable_by_keyboard() {
    is_operable(&fleet_page()).await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn the_list_is_operable_by_keyboard() {
    is_operable(&Served::after(240, || tenants(30, ""))).await;
}

/// Tab reaches everything that can be operated, in its order, and shows where it is.
async fn is_operable(served: &Served) {
    let chromium = Chromium::open().await;
    chromium.visit(&format!("{}/", served.address())).await;
    // The script leaves an element that is focused in its place, so those of one moment are those of the next.
    chromium
        .run(
            "window.all = 'a[href], input:not([type=hidden]), button, select, summary, [tabindex=\"0\"]';
             window.number = (one) => [...document.querySelectorAll(all)].indexOf(one);",
        )
        .await;
    let count: usize = chromium
        .value("document.querySelectorAll(all).length")
        .await;
    assert!(count > 5, "{count}");
    for number in 0..count {
        chromium.press(Key::Tab).await;
        let (at, is_visible, html): (usize, bool, String) = chromium
            .value(
                "((one) => {
                    const style = getComputedStyle(one);
                    const box = one.getBoundingClientRect();
                    const isOutlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
                    const isThere = box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
                    return [number(one), isOutlined && isThere, one.outerHTML.slice(0, 200)];
                })(document.activeElement)",
            )
            .await;
        assert_eq!(at, number, "{html}");
        assert!(is_visible, "{html}");
    }
    // The skip link leads past what comes first.
    chromium
        .run("document.activeElement.blur(); scrollTo(0, 0);")
        .await;
    chromium.visit(&format!("{}/", served.address())).await;
    chromium.press(Key::Tab).await;
    chromium.press(Key::Enter).await;
    assert_eq!(chromium.value::<String>("location.hash").await, "#main");
    chromium.close(&served.address()).await;
}
