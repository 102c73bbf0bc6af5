//! Reads any text as the YAML file: nothing may panic, and what is wrong is said.

#![no_main]

use std::ffi::OsString;

use fly_autoscaler::config::{Config, Purpose, Sources};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let environment = [("FAS_API_TOKEN", "fm2_secret"), ("PRIMARY", "ord")]
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut sources = Sources::new(environment, Purpose::Serve);
    sources.file = Some(("fly-autoscaler.yml".into(), text.to_owned()));
    match Config::load(sources) {
        Ok(config) => assert!(!format!("{config:?}").contains("fm2_secret")),
        Err(errors) => {
            let told = errors.to_string();
            assert!(!told.is_empty());
            assert!(text.contains("API_TOKEN") || !told.contains("fm2_secret"));
        }
    }
});
