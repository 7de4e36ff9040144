//! Wall-clock time in UTC, in the format of run ids.

use std::time::SystemTime;

/// `time` as `yyyymmdd-hhmmss` in UTC.
pub fn stamp(time: SystemTime) -> String {
    // RFC 3339, for instance `2024-02-29T23:59:59Z`.
    let date_and_time = humantime::format_rfc3339_seconds(time).to_string();
    date_and_time.replace(['-', ':', 'Z'], "").replace('T', "-")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[track_caller]
    fn check(seconds: u64, expected: &str) {
        assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }

    #[test]
    fn stamps_are_in_utc() {
        check(0, "19700101-000000");
        check(951_782_400, "20000229-000000");
        check(1_709_251_199, "20240229-235959");
        check(1_709_251_200, "20240301-000000");
        check(4_102_444_799, "20991231-235959");
    }
}
