//! What moves on the page while somebody reads it.

use super::{
    chromium::Chromium,
    served::{Served, queue, tenants},
};

/// What is gone after a reload.
const MARK: &str = "window.mark = true;";

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn news_come_without_a_reload_and_leave_the_reader_where_he_is() {
    let served = Served::after(3 * 3600, queue);
    let chromium = Chromium::open().await;
    chromium.visit(&format!("{}/", served.address())).await;
    chromium.width(360).await;
    chromium.run(MARK).await;
    chromium
        .until("document.querySelector('.headline').innerText.startsWith('3 machines, 3 running')")
        .await;
    chromium.click("#day summary").await;
    chromium
        .run("document.querySelector('#decisions').focus(); scrollTo(0, 500); document.querySelector('#decisions').scrollLeft = 7;")
        .await;
    let place =
        "[scrollY, document.querySelector('#decisions').scrollLeft, document.activeElement.id]";
    let before: (f64, f64, String) = chromium.value(place).await;
    assert_eq!((before.0, &*before.2), (500.0, "decisions"));

    served.go_on(60, |world| world.depth(5.0));
    chromium
        .until("document.querySelector('.headline').innerText.startsWith('5 machines, 5 running')")
        .await;
    let after: (f64, f64, String) = chromium.value(place).await;
    assert_eq!(after, before);
    assert!(
        chromium
            .value::<bool>("document.querySelector('#day').open")
            .await
    );

    // Who has closed it again finds it closed, and a link that has the focus keeps it.
    chromium.click("#day summary").await;
    chromium
        .run("document.querySelector('#day summary').focus();")
        .await;
    served.go_on(60, |world| world.depth(6.0));
    chromium
        .until("document.querySelector('.headline').innerText.startsWith('6 machines, 6 running')")
        .await;
    assert!(
        !chromium
            .value::<bool>("document.querySelector('#day').open")
            .await
    );
    assert_eq!(
        chromium
            .value::<String>("document.activeElement.parentElement.id")
            .await,
        "day"
    );
    assert!(
        chromium.value::<bool>("window.mark").await,
        "it was reloaded"
    );
    chromium.close(&served.address()).await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn a_link_that_has_the_focus_and_what_is_typed_are_kept() {
    let served = Served::after(120, || tenants(30, ""));
    let chromium = Chromium::open().await;
    chromium.visit(&format!("{}/", served.address())).await;
    let clock = "document.querySelector('#clock').innerText";
    chromium
        .run("document.querySelector('tbody tr:nth-child(20) a').focus();")
        .await;
    let before: String = chromium.value(clock).await;
    served.go_on(60, |_| {});
    chromium.until(&format!("{clock} !== {before:?}")).await;
    assert_eq!(
        chromium
            .value::<String>("document.activeElement.innerText")
            .await,
        "tenant-0019"
    );

    chromium.enter("#q", "tenant-002").await;
    let before: String = chromium.value(clock).await;
    served.go_on(60, |world| {
        world
            .platform()
            .set_gauge("tenant-0000", "queue_depth", Some(9.0));
    });
    chromium.until(&format!("{clock} !== {before:?}")).await;
    // The rows are as new as the clock.
    let wanted = "document.querySelector('tbody tr .wanted').innerText";
    assert_eq!(chromium.value::<String>(wanted).await, "9");
    chromium.enter("#q", "7\n").await;
    chromium.until("location.search === '?q=tenant-0027'").await;
    assert_eq!(chromium.texts("tbody a").await, ["tenant-0027"]);
    chromium.close(&served.address()).await;
}

#[tokio::test]
#[ignore = "needs chromium and its driver"]
async fn a_daemon_that_stops_answering_is_told_and_so_is_its_return() {
    let mut served = Served::after(60, queue);
    let chromium = Chromium::open().await;
    let address = served.address();
    chromium.visit(&format!("{address}/")).await;
    chromium.run(MARK).await;
    let is_told = "document.querySelector('#lost').checkVisibility()";
    assert!(!chromium.value::<bool>(is_told).await);

    served.fall_silent();
    chromium.until("document.querySelector('#lost').innerText.startsWith('The autoscaler has not answered for ')").await;
    assert!(chromium.value::<bool>(is_told).await);
    let headline = chromium.texts(".headline").await.remove(0);
    assert!(
        headline.starts_with("3 machines, 3 running"),
        "what was known stays: {headline}"
    );

    served.answer();
    served.go_on(60, |world| world.depth(4.0));
    chromium.until(&format!("!{is_told}")).await;
    chromium
        .until("document.querySelector('.headline').innerText.startsWith('4 machines, 4 running')")
        .await;
    assert!(
        chromium.value::<bool>("window.mark").await,
        "it was reloaded"
    );
    // That nobody answered is the browser's to say.
    let expected = |message: &str| {
        message.starts_with("network: ") && message.ends_with("net::ERR_CONNECTION_REFUSED")
    };
    chromium.close_after(&address, expected).await;
}
