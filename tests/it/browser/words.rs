//! Finding a fleet among many, and names that are none.

use std::sync::Arc;

use fly_autoscaler::{scaling::FleetName, sim::NewMachine, status::Standing};

use super::{
    chromium::Chromium,
    served::{Served, tenants},
};
use crate::world::{APP, World};

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn the_search_field_filters_and_the_heads_of_columns_sort() {
    let served = Served::after(240, || tenants(300, ""));
    let chromium = Chromium::open().await;
    chromium.visit(&format!("{}/", served.address())).await;
    assert_eq!(chromium.texts("tbody tr").await.len(), 200);
    chromium.click("a[rel=next]").await;
    assert_eq!(chromium.texts("tbody tr").await.len(), 100);

    chromium.enter("#q", "TENANT-001\n").await;
    chromium.until("location.search === '?q=TENANT-001'").await;
    let names = "tbody a";
    let found: Vec<String> = (10..20)
        .map(|number| format!("tenant-00{number}"))
        .collect();
    assert_eq!(chromium.texts(names).await, found);
    assert_eq!(
        chromium
            .value::<String>("document.querySelector('#q').value")
            .await,
        "TENANT-001"
    );

    chromium.click("th a[href*='sort=created']").await;
    let sorted = [
        "0011", "0014", "0017", "0010", "0013", "0016", "0019", "0012", "0015", "0018",
    ];
    assert_eq!(
        chromium.texts(names).await,
        sorted.map(|number| format!("tenant-{number}"))
    );
    let column = "[...document.querySelectorAll('th[aria-sort]')].map((one) => [one.innerText, one.ariaSort])";
    let sorted_by = [("Exist".to_owned(), "descending".to_owned())];
    assert_eq!(
        chromium.value::<Vec<(String, String)>>(column).await,
        sorted_by
    );
    chromium.click("th a[href*='sort=name']").await;
    assert_eq!(chromium.texts(names).await, found, "and the filter stays");
    chromium.close(&served.address()).await;
}

const HOSTILE: &str = "<script>alert(1)</script>";

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn names_that_are_markup_are_text() {
    let served = Served::after(60, || {
        let settings = [
            ("FAS_PROCESS_GROUP", HOSTILE),
            ("FAS_CREATED_MACHINE_COUNT", "queue_depth"),
        ];
        let world = World::queue(1.0, &settings);
        let machine = NewMachine::in_region("<img src=x onerror=alert(2)>").group(HOSTILE);
        world.platform().add_machine(APP, machine).unwrap();
        world
    });
    // No app of such a name is scaled; the page must not rely on that.
    served.go_on(60, |world| {
        let status = &world.admin.status;
        let name = FleetName::only(HOSTILE, HOSTILE);
        let targets = Arc::default();
        status.appear(&name, &targets, Standing::default(), status.started_at());
    });
    let chromium = Chromium::open().await;
    let address = served.address();
    chromium.visit(&format!("{address}/?q=%3Cscript%3E")).await;
    assert_eq!(chromium.texts("tbody a").await, [HOSTILE]);
    chromium.click("tbody a").await;
    let heading = chromium.texts("h1").await.remove(0);
    assert!(heading.starts_with(HOSTILE), "{heading}");
    chromium.visit(&format!("{address}/app/{APP}")).await;
    let text: String = chromium.value("document.body.innerText").await;
    for part in [
        &format!("process group {HOSTILE}"),
        "<img src=x onerror=alert(2)> (1)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(chromium.value::<u32>("document.scripts.length").await, 1);
    chromium
        .visit(&format!(
            "{}/app/%3Cscript%3Ealert(3)%3C/script%3E",
            served.address()
        ))
        .await;
    assert_eq!(chromium.texts("h1").await, ["Not found"]);
    // What is not there is the browser's to say.
    let expected = |message: &str| message.starts_with("network: ") && message.contains("404");
    chromium.close_after(&address, expected).await;
}
