//! One Chromium, driven by its `WebDriver`.

use std::{env, fs, mem::ManuallyDrop, sync::Once, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    By, Capabilities, ChromiumLikeCapabilities as _, DesiredCapabilities, Key,
    LoggingPrefsLogLevel, WebDriver, WebElement, extensions::query::ElementQueryable as _,
};

use crate::servers::process::{Process, command, program};

/// How long the browser waits for a condition to come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the browser is asked for an element that is to appear.
const PAUSE: Duration = Duration::from_millis(50);

/// A browser with one window; dropping it ends it.
pub(super) struct Chromium {
    // Where a test fails the session ends with chromedriver. Left to itself, it would ask chromedriver to end it, over a
    // connection that nobody serves while its owner is dropped, until its patience is at an end.
    driver: ManuallyDrop<WebDriver>,
    _chromedriver: Process,
    _folder: TempDir,
}

/// What the browser noted of a visit.
#[derive(Debug, Default)]
struct Trace {
    /// What stood on the console, `source: text`.
    console: Vec<String>,
    /// What was asked for.
    requests: Vec<String>,
    /// The texts of dialogs.
    dialogs: Vec<String>,
}

impl Chromium {
    /// Starts a browser, in a window of a desktop's size.
    pub(super) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("chromedriver.log");
        let start = {
            let mut command = command(&program("FAS_TEST_CHROMEDRIVER", "chromedriver"));
            command
                .arg("--port=0")
                .env("HOME", folder.path())
                .env("TMPDIR", folder.path());
            command
        };
        let is_up = async |_| listens_on(&log).is_some();
        let chromedriver = Process::start_on("chromedriver", folder.path(), 0, start, is_up).await;
        let port = listens_on(&log).unwrap();
        let driver = WebDriver::builder(format!("http://127.0.0.1:{port}"), capabilities())
            .await
            .unwrap();
        driver.set_script_timeout(PATIENCE).await.unwrap();
        let chromium = Self {
            driver: ManuallyDrop::new(driver),
            _chromedriver: chromedriver,
            _folder: folder,
        };
        chromium.width(1280).await;
        // What the empty window came with is nobody's visit.
        chromium.trace().await;
        chromium
    }

    /// Opens an address.
    pub(super) async fn visit(&self, address: &str) {
        self.driver.goto(address).await.unwrap();
    }

    /// What a JavaScript expression is worth in the page.
    pub(super) async fn value<T: DeserializeOwned>(&self, expression: &str) -> T {
        let answer = self
            .driver
            .execute(format!("return ({expression});"), Vec::new())
            .await;
        let answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        answer
            .convert()
            .unwrap_or_else(|error| panic!("{expression}: {error}: {}", answer.json()))
    }

    /// Runs JavaScript statements in the page.
    pub(super) async fn run(&self, statements: &str) {
        self.driver.execute(statements, Vec::new()).await.unwrap();
    }

    /// Waits until a JavaScript expression is true, looking whenever the document changes.
    ///
    /// # Panics
    ///
    /// When it never is; the text of the page is shown then.
    pub(super) async fn until(&self, condition: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const is = () => Boolean({condition});
             if (is()) {{ done(true); return; }}
             const observer = new MutationObserver(() => {{ if (is()) {{ observer.disconnect(); done(true); }} }});
             observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});"
        );
        if let Err(error) = self.driver.execute_async(script, Vec::new()).await {
            let text: String = self.value("document.body.innerText").await;
            panic!("never true: {condition}: {error}\n{text}");
        }
    }

    /// Waits until a CSS selector finds an element: where no script runs, a click does not wait for the page that it leads to.
    ///
    /// # Panics
    ///
    /// When it never does.
    pub(super) async fn appears(&self, selector: &str) {
        let query = self.driver.query(By::Css(selector));
        let found = query.wait(PATIENCE, PAUSE).first().await;
        if let Err(error) = found {
            panic!("{selector} never appears: {error}");
        }
    }

    /// Types into the first element that a CSS selector finds.
    pub(super) async fn enter(&self, selector: &str, text: &str) {
        self.element(selector).await.send_keys(text).await.unwrap();
    }

    /// Clicks on the first element that a CSS selector finds.
    pub(super) async fn click(&self, selector: &str) {
        self.element(selector).await.click().await.unwrap();
    }

    async fn element(&self, selector: &str) -> WebElement {
        let found = self.driver.find(By::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// How many elements a CSS selector finds.
    pub(super) async fn count(&self, selector: &str) -> usize {
        self.value(&format!("document.querySelectorAll({selector:?}).length"))
            .await
    }

    /// The text of the elements that a CSS selector finds, as it is shown.
    pub(super) async fn texts(&self, selector: &str) -> Vec<String> {
        self.value(&format!(
            "[...document.querySelectorAll({selector:?})].map((one) => one.innerText)"
        ))
        .await
    }

    /// Presses a key.
    pub(super) async fn press(&self, key: Key) {
        self.driver
            .action_chain()
            .send_keys(key)
            .perform()
            .await
            .unwrap();
    }

    /// Makes the window so wide.
    pub(super) async fn width(&self, width: u32) {
        let size =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// Makes the reader one who prefers this colour scheme.
    pub(super) async fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Runs no script of the pages that are visited from now on.
    pub(super) async fn without_scripts(&self) {
        self.devtools(
            "Emulation.setScriptExecutionDisabled",
            json!({ "value": true }),
        )
        .await;
    }

    async fn devtools(&self, method: &str, parameters: Value) {
        self.driver
            .cdp()
            .send_raw(method, parameters)
            .await
            .unwrap();
    }

    /// Ends the browser, which has to have talked to nobody but `address` and to have had nothing to say about it.
    pub(super) async fn close(self, address: &str) {
        self.close_after(address, |_| false).await;
    }

    /// As [`Chromium::close`], where messages on the console that are `expected` do no harm.
    pub(super) async fn close_after(self, address: &str, expected: impl Fn(&str) -> bool) {
        let trace = self.trace().await;
        WebDriver::clone(&self.driver).quit().await.unwrap();
        let surprising: Vec<_> = trace
            .console
            .iter()
            .filter(|message| !expected(message))
            .collect();
        assert!(surprising.is_empty(), "on the console: {surprising:#?}");
        assert!(trace.dialogs.is_empty(), "{:#?}", trace.dialogs);
        let is_ours = |request: &&String| !request.starts_with(&format!("{address}/"));
        let others: Vec<_> = trace.requests.iter().filter(is_ours).collect();
        assert!(others.is_empty(), "asked of others: {others:#?}");
        assert!(!trace.requests.is_empty(), "nothing was asked of {address}");
    }

    /// What has happened since the last look.
    async fn trace(&self) -> Trace {
        let mut trace = Trace::default();
        for entry in self.driver.get_log("browser").await.unwrap() {
            let source = entry.source.unwrap_or_default();
            trace.console.push(format!("{source}: {}", entry.message));
        }
        for entry in self.driver.get_log("performance").await.unwrap() {
            let message: Value = serde_json::from_str(&entry.message).unwrap();
            let message = &message["message"];
            let text = |pointer| {
                message
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap()
                    .to_owned()
            };
            match message["method"].as_str() {
                Some("Network.requestWillBeSent") => {
                    trace.requests.push(text("/params/request/url"));
                }
                Some("Page.javascriptDialogOpening") => trace.dialogs.push(text("/params/message")),
                _ => {}
            }
        }
        trace
    }
}

/// Where chromedriver listens, once its log says so.
fn listens_on(log: &std::path::Path) -> Option<u16> {
    let log = fs::read_to_string(log).ok()?;
    let (_, port) = log.split_once("was started successfully on port ")?;
    port.split_once('.')?.0.parse().ok()
}

fn capabilities() -> Capabilities {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // The driver's client is built with the program's TLS, which wants to know whose cryptography, though it uses none.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let mut chrome = DesiredCapabilities::chrome();
    for argument in [
        "--headless",
        // Whoever tests as root, as in a container, has no sandbox, and not much room in /dev/shm.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        // However chromedriver ends, the browser ends with it.
        "--remote-debugging-pipe",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ] {
        chrome.add_arg(argument).unwrap();
    }
    if let Some(path) = env::var("FAS_TEST_CHROMIUM")
        .ok()
        .filter(|path| !path.is_empty())
    {
        chrome.set_binary(&path).unwrap();
    }
    for log in ["browser", "performance"] {
        chrome
            .set_logging_prefs(log, LoggingPrefsLogLevel::All)
            .unwrap();
    }
    chrome.into()
}
