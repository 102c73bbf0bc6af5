//! Reads any bytes as the answer of a Prometheus: nothing may panic, and a value is never NaN.

#![no_main]

use fly_autoscaler::collect::parse_instant;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: (u16, Option<f64>, &[u8])| {
    let (status, empty_value, body) = answer;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let empty_value = empty_value.filter(|value| value.is_finite());
    for status in [status, StatusCode::OK] {
        if let Ok(sample) = parse_instant(status, body, empty_value) {
            assert!(!sample.value.is_nan());
        }
    }
});
